"""What every floor uses: messages, answers, stored rows, files, errors, registries."""
