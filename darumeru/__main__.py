from darumeru.cli.main import main

main()
