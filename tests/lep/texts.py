"""Texts for the tiny tokenizers: an English corpus with a little Russian, and a Russian one."""

ENGLISH = (
    """\
The river runs slowly past the old mill, and the miller watches the water from the bridge every morning.
When the weather is fine the children walk to the other side of the valley and come back before the evening.
A function takes a list of numbers and returns the largest of them; the program prints the result on the screen.
def largest(numbers):
    best = numbers[0]
    for number in numbers:
        if number > best:
            best = number
    return best


print(largest([1, 22, 333, 4444]))
In the year 1869 the railway was finished, and 2,500 people came to see the first train leave the station.
She wrote letters to her friends, and her friends wrote letters back, so that the postman knew them all by name.
"It's raining," he said, "and we'll have to wait until it stops." They didn't mind; they weren't in a hurry.
The weather report says that the wind will change during the night and that the rain will stop in the morning.
Nobody in the village remembers who built the bridge, but everybody knows who repaired it after the flood.
To write well is to think clearly, and to think clearly is to know what one wants to say before one says it.
"""
    * 3
)

A_LITTLE_RUSSIAN = (
    """\
Он и она не были на реке. Но как же так, что это за дом? Да, это он. Нет, не так.
На том же месте стоял тот же дом, и в том доме жил тот же человек, что и раньше.
"""
    * 3
)

RUSSIAN = (
    """\
Река медленно течёт мимо старой мельницы, и мельник каждое утро смотрит на воду с моста.
Когда погода хорошая, дети уходят на другую сторону долины и возвращаются домой до вечера.
Функция получает список чисел и возвращает наибольшее из них; программа печатает результат на экране.
В 1869 году железная дорога была построена, и две с половиной тысячи человек пришли посмотреть на первый поезд.
Она писала письма друзьям, и друзья писали письма ей, так что почтальон знал их всех по именам.
«Идёт дождь, — сказал он, — и нам придётся подождать, пока он не кончится». Они не возражали и не спешили.
Прогноз погоды обещает, что ветер ночью переменится, а утром дождь прекратится.
Никто в деревне не помнит, кто построил мост, но все знают, кто починил его после наводнения.
Писать хорошо — значит думать ясно, а думать ясно — значит знать, что хочешь сказать, прежде чем скажешь.
Молодой учитель приехал в деревню осенью, когда дороги уже размыло дождями, и прожил там до весны.
Дети полюбили учителя, потому что он рассказывал им о дальних странах, о звёздах и о больших кораблях.

	Старый мельник говорил мало, но всё, что он говорил, запоминалось надолго.


Весной река вышла из берегов, и наводнение снесло мост, который построили ещё до железной дороги.
Мужики собрались и за одно лето починили мост; с тех пор по нему каждое утро проезжает почтальон.
Съезд учителей объявил, что объём работы вырос; подъезд к зданию закрыт, объезд — через мост.
Железная дорога соединила деревню с городом, и жизнь в деревне переменилась: дома стали выше, а дни короче.
По вечерам они сидели у окна и смотрели, как последний поезд уходит в сторону города.
Почтальон возвращался домой поздно, потому что каждый хотел рассказать ему свои новости.
"""
    * 3
)

HELD_OUT = """\
Дети писали письма учителю, а учитель рассказывал мельнику новости из города.
Осенью погода переменилась, дождь размыл дорогу, и поезд пришёл поздно вечером.
Мельник починил старый дом у реки и прожил в нём до весны.
"""

PROBES = (
    "Привет, мир! Ёлка, съезд, объём; №5 — «цитата»…",
    "Hello world, it's a test\n\n\n\tdef f(x):\n        return x  # 42\r\n",
    "  leading, and   triple   spaces  ",
    "\u00a0NBSP\u00a0 и\u0306 (NFD: и\u0306), 日本語, Ελληνικά, українська їжа, 🙂🏽, \u200d, \ufffd",
    "смешанный text: Python3-код, Cе (латинская C), 50% Water/вода",
    "",
    " ",
    "\n",
)
