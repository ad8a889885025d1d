"""Write the general questions of the retention suite, assets/retention/questions.jsonl.

    python tools/make_retention.py [FILE]

Every question has four choices, of which one is right. The facts stand in the tables below, written
for this project; nothing is taken from a data set. Wrong choices come from the same table, in an
order that depends on the question's own words alone, so that the file is the same on every machine.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

TARGET = Path(__file__).parents[1] / "src/tunesmith/assets/retention/questions.jsonl"


class Question(NamedTuple):
    """`wrong` may hold more than the three that are taken."""

    kind: str
    text: str
    right: str
    wrong: tuple[str, ...]


def main() -> None:
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("".join(lines()), encoding="utf-8")


def lines() -> Iterator[str]:
    """One line of JSON a question; the right choice stands in each place equally often."""
    for number, question in enumerate(questions()):
        choices = shuffled(question.text, [w for w in question.wrong if w != question.right])[:3]
        choices.insert(number % 4, question.right)
        row = {
            "id": f"{question.kind}-{number + 1}",
            "kind": question.kind,
            "question": question.text,
            "choices": choices,
            "answer": question.right,
        }
        yield json.dumps(row, ensure_ascii=False) + "\n"


def shuffled(text: str, words: Iterable[str]) -> list[str]:
    """In an order that the text decides."""
    return sorted(
        dict.fromkeys(words), key=lambda w: hashlib.sha256(f"{text}|{w}".encode()).hexdigest()
    )


def questions() -> Iterator[Question]:
    yield from capitals()
    yield from from_pairs("opposite", "What is the opposite of '{}'?", OPPOSITES)
    yield from from_pairs("continent", "On which continent is {}?", CONTINENTS)
    yield from from_pairs("landmark", "In which country is {}?", LANDMARKS)
    yield from from_pairs("symbol", "Which chemical element has the symbol {}?", ELEMENTS)
    yield from from_pairs("animal", "What kind of animal is {}?", ANIMALS)
    yield from from_pairs("young", "What is a young {} called?", YOUNG)
    yield from from_pairs("tool", "Which of the things in a house would you use to {}?", TOOLS)
    yield from from_pairs("job", "Who {}?", JOBS)
    yield from from_pairs("kind", "{} is a kind of what?", KINDS)
    yield from from_forms("plural", "What is the plural of the noun '{}'?", PLURALS)
    yield from from_forms("past", "What is the past tense of the verb '{}'?", PASTS)
    yield from from_forms("spelling", "How is the word that means '{}' spelled?", SPELLINGS)
    yield from agreement()
    yield from from_forms("everyday", "{}", EVERYDAY)
    yield from calendar()
    yield from units()
    yield from arithmetic()
    yield from sequences()
    yield from reading()
    yield from instructions()


def from_pairs(kind: str, text: str, pairs: dict[str, str]) -> Iterator[Question]:
    """The answers of the other pairs are wrong for this one, but for those that come close to its
    own.
    """
    for subject, answer in pairs.items():
        near = {word for group in ALIKE if answer in group for word in group}
        wrong = tuple(other for other in pairs.values() if other not in near)
        yield Question(kind, text.format(subject), answer, wrong)


def from_forms(kind: str, text: str, forms: dict[str, str]) -> Iterator[Question]:
    """The first form is right, the others are wrong; a bar stands between them."""
    for subject, choices in forms.items():
        right, *wrong = choices.split("|")
        yield Question(kind, text.format(subject), right, tuple(wrong))


def agreement() -> Iterator[Question]:
    """Whole sentences as choices, of which one is correct."""
    for gap, words in AGREEMENT.items():
        right, *wrong = (gap.replace("___", word) for word in words.split("|"))
        yield Question("agreement", f"Fill the gap: {gap}", right, tuple(wrong))


def capitals() -> Iterator[Question]:
    """The wrong choices are capitals of the same part of the world."""
    for region in CAPITALS:
        yield from from_pairs("capital", "What is the capital of {}?", region)


def calendar() -> Iterator[Question]:
    days = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
    months = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ]
    for what, names in (("day", days), ("month", months)):
        for place, name in enumerate(names):
            after, before = names[(place + 1) % len(names)], names[place - 1]
            yield Question(
                "calendar", f"Which {what} comes right after {name}?", after,
                tuple(other for other in names if other != name),
            )  # fmt: skip
            if what == "month" and place % 2:
                yield Question(
                    "calendar", f"Which month comes right before {name}?", before,
                    tuple(other for other in names if other != name),
                )  # fmt: skip


def units() -> Iterator[Question]:
    for (many, one), number in UNITS.items():
        wrong = [str(other) for other in UNITS.values()] + [str(number * 2), str(number + 1)]
        yield Question("unit", f"How many {many} are in {one}?", str(number), tuple(wrong))


def arithmetic() -> Iterator[Question]:
    """Sums, differences and products that are learned at school; the wrong ones are near."""
    for a, b in ((2, 3), (4, 4), (7, 2), (6, 5), (9, 8), (12, 6), (15, 7), (20, 30), (25, 25)):
        yield near("arithmetic", f"What is {a} + {b}?", a + b)
    for a, b in ((5, 2), (9, 4), (10, 3), (12, 5), (15, 6), (20, 8), (30, 10), (50, 25), (100, 40)):
        yield near("arithmetic", f"What is {a} - {b}?", a - b)
    for a, b in ((2, 4), (3, 3), (5, 5), (6, 2), (7, 3), (8, 4), (9, 9), (10, 6), (11, 2)):
        yield near("arithmetic", f"What is {a} x {b}?", a * b)


def near(kind: str, text: str, right: int) -> Question:
    return Question(kind, text, str(right), tuple(str(right + d) for d in (-2, -1, 1, 2, 3)))


def sequences() -> Iterator[Question]:
    for start, step in ((1, 1), (2, 2), (5, 5), (10, 10), (3, 3), (1, 2), (4, 4), (100, 100),
                        (10, -1), (20, -2), (50, -10), (7, 7)):  # fmt: skip
        shown = [start + i * step for i in range(4)]
        right = start + 4 * step
        wrong = tuple(str(right + d) for d in (step, -step, 2 * step, 1, -1) if right + d >= 0)
        text = f"Which number comes next: {', '.join(map(str, shown))}?"
        yield Question("sequence", text, str(right), wrong)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    for place in (0, 3, 6, 10, 14, 18, 21):
        text = f"Which letter comes next: {', '.join(alphabet[place : place + 4])}?"
        yield Question("sequence", text, alphabet[place + 4], tuple(alphabet))


def reading() -> Iterator[Question]:
    """The answer stands in the question; one wrong choice does too, and two do not."""
    for number in range(24):
        people = [NAMES[(number + i * 5) % len(NAMES)] for i in range(4)]
        things = [THINGS[(number * 3 + i * 7) % len(THINGS)] for i in range(4)]
        asked, both = number % 2, zip(people[:2], things[:2], strict=True)
        said = ". ".join(f"{who} has {what}" for who, what in both)
        yield Question(
            "reading", f"{said}. What does {people[asked]} have?", things[asked], tuple(things)
        )
    for number in range(16):
        people = [NAMES[(number * 3 + i * 4) % len(NAMES)] for i in range(4)]
        places = [PLACES[(number + i * 3) % len(PLACES)] for i in range(4)]
        asked, both = (number + 1) % 2, zip(people[:2], places[:2], strict=True)
        said = ". ".join(f"{who} is {where}" for who, where in both)
        yield Question("reading", f"{said}. Who is {places[asked]}?", people[asked], tuple(people))


def instructions() -> Iterator[Question]:
    for number, word in enumerate(WORDS):
        kind = number % 3
        if kind == 0:
            wrong = (word, word.capitalize(), word[::-1].upper())
            yield Question(
                "instruction", f"Write the word '{word}' in capital letters.", word.upper(), wrong
            )
        elif kind == 1:
            others = tuple(WORDS[(number + step) % len(WORDS)] for step in (4, 7, 11))
            yield Question(
                "instruction", f"Repeat this word and say nothing else: {word}", word, others
            )
        else:
            others = tuple(WORDS[(number + step) % len(WORDS)] for step in (2, 5, 9))
            pair = f"'{word}' or '{others[0]}'"
            longer = f"Answer with one word only. Of the two words {pair}, which stands first here?"
            yield Question("instruction", longer, word, others)


# ---- facts

CAPITALS: tuple[dict[str, str], ...] = (
    {
        "France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid",
        "Portugal": "Lisbon", "Austria": "Vienna", "Poland": "Warsaw", "Greece": "Athens",
        "Hungary": "Budapest", "Ireland": "Dublin", "Norway": "Oslo", "Sweden": "Stockholm",
        "Finland": "Helsinki", "Denmark": "Copenhagen", "Belgium": "Brussels",
        "Russia": "Moscow", "Ukraine": "Kyiv", "Iceland": "Reykjavik",
    },
    {
        "Japan": "Tokyo", "China": "Beijing", "India": "New Delhi", "Thailand": "Bangkok",
        "Vietnam": "Hanoi", "Iran": "Tehran", "Iraq": "Baghdad", "Turkey": "Ankara",
        "Pakistan": "Islamabad", "Afghanistan": "Kabul", "South Korea": "Seoul",
    },
    {
        "Egypt": "Cairo", "Kenya": "Nairobi", "Ethiopia": "Addis Ababa", "Senegal": "Dakar",
        "Ghana": "Accra", "Nigeria": "Abuja", "Morocco": "Rabat", "Tunisia": "Tunis",
    },
    {
        "Canada": "Ottawa", "Cuba": "Havana", "Argentina": "Buenos Aires", "Peru": "Lima",
        "Brazil": "Brasília", "Chile": "Santiago", "Colombia": "Bogotá", "Venezuela": "Caracas",
        "Uruguay": "Montevideo", "Ecuador": "Quito",
    },
)  # fmt: skip
OPPOSITES = {
    "hot": "cold", "big": "small", "tall": "short", "fast": "slow", "happy": "sad",
    "light": "dark", "hard": "soft", "young": "old", "rich": "poor", "full": "empty",
    "open": "closed", "early": "late", "clean": "dirty", "wet": "dry", "strong": "weak",
    "loud": "quiet", "true": "false", "right": "left", "up": "down", "in": "out",
    "day": "night", "win": "lose", "buy": "sell", "push": "pull", "begin": "end",
    "love": "hate", "north": "south", "east": "west", "first": "last", "always": "never",
    "above": "below", "before": "after", "thick": "thin", "wide": "narrow", "deep": "shallow",
    "cheap": "expensive", "brave": "cowardly", "polite": "rude", "sweet": "bitter",
    "sharp": "blunt",
}  # fmt: skip
# None is offered where another of its group is right: a low voice is soft, a ruler is a tool.
ALIKE = (
    {"short", "small", "thin", "narrow", "shallow"}, {"soft", "quiet", "weak", "blunt"},
    {"false", "left"}, {"down", "below", "out", "empty"}, {"late", "last", "end", "after", "old"},
    {"dark", "night"}, {"sad", "bitter", "hate", "rude", "cold"}, {"tool", "measuring device"},
    {"gemstone", "shape"}, {"fruit", "tree", "vegetable"}, {"flower", "colour", "tree"},
    {"a doctor", "a dentist", "a vet"}, {"a chef", "a baker"},
)  # fmt: skip
CONTINENTS = {
    "Kenya": "Africa", "Nigeria": "Africa", "Ghana": "Africa", "France": "Europe",
    "Poland": "Europe", "Sweden": "Europe", "Japan": "Asia", "Vietnam": "Asia",
    "India": "Asia", "Brazil": "South America", "Peru": "South America",
    "Bolivia": "South America", "Canada": "North America", "Mexico": "North America",
}  # fmt: skip
LANDMARKS = {
    "the Eiffel Tower": "France", "the Colosseum": "Italy", "the Great Wall": "China",
    "the Taj Mahal": "India", "Mount Fuji": "Japan", "Big Ben": "England",
    "the Grand Canyon": "the United States", "the Brandenburg Gate": "Germany",
    "the Acropolis": "Greece", "the Sydney Opera House": "Australia", "the Kremlin": "Russia",
    "Machu Picchu": "Peru", "Mount Kilimanjaro": "Tanzania",
    "the Sagrada Família": "Spain", "the Great Pyramid of Giza": "Egypt",
}  # fmt: skip
ELEMENTS = {
    "H": "hydrogen", "He": "helium", "C": "carbon", "N": "nitrogen", "O": "oxygen",
    "Na": "sodium", "Mg": "magnesium", "Al": "aluminium", "Si": "silicon", "S": "sulfur",
    "Cl": "chlorine", "K": "potassium", "Ca": "calcium", "Fe": "iron", "Cu": "copper",
    "Zn": "zinc", "Ag": "silver", "Au": "gold", "Hg": "mercury", "Pb": "lead",
}  # fmt: skip
ANIMALS = {
    "a sparrow": "a bird", "an eagle": "a bird", "a penguin": "a bird", "an owl": "a bird",
    "a salmon": "a fish", "a trout": "a fish", "a shark": "a fish", "a tuna": "a fish",
    "a butterfly": "an insect", "an ant": "an insect", "a bee": "an insect",
    "a mosquito": "an insect", "a snake": "a reptile", "a lizard": "a reptile",
    "a crocodile": "a reptile", "a turtle": "a reptile", "a dog": "a mammal",
    "a whale": "a mammal", "a horse": "a mammal", "an elephant": "a mammal",
}  # fmt: skip
YOUNG = {
    "dog": "a puppy", "cat": "a kitten", "cow": "a calf", "horse": "a foal", "sheep": "a lamb",
    "goat": "a kid", "hen": "a chick", "duck": "a duckling", "goose": "a gosling",
    "lion": "a cub", "swan": "a cygnet", "frog": "a tadpole",
}  # fmt: skip
TOOLS = {
    "cut paper": "scissors", "tell the time": "a clock", "sweep the floor": "a broom",
    "dry yourself after a bath": "a towel", "brush your teeth": "a toothbrush",
    "keep milk cold": "a refrigerator", "bake a cake": "an oven", "hit a nail": "a hammer",
    "unlock a door": "a key", "write a letter": "a pen", "eat soup": "a spoon",
    "stay dry in the rain": "an umbrella", "boil water for tea": "a kettle",
    "wash clothes": "a washing machine", "see in the dark": "a torch",
    "take a photo": "a camera", "sew on a button": "a needle", "weigh flour": "scales",
    "measure a fever": "a thermometer", "sleep at night": "a bed",
}  # fmt: skip
JOBS = {
    "bakes bread for a living": "a baker", "flies an aeroplane": "a pilot",
    "teaches children at school": "a teacher", "puts out fires": "a firefighter",
    "treats sick people in a hospital": "a doctor", "treats sick animals": "a vet",
    "cuts people's hair": "a hairdresser", "repairs cars": "a mechanic",
    "grows wheat and keeps cows": "a farmer", "catches fish at sea": "a fisherman",
    "repairs leaking pipes": "a plumber", "looks after people's teeth": "a dentist",
    "builds walls with bricks": "a bricklayer", "delivers letters": "a postman",
    "sews suits to measure": "a tailor", "judges cases in court": "a judge",
    "writes novels": "an author", "cooks in a restaurant": "a chef",
}  # fmt: skip
KINDS = {
    "A rose": "flower", "An oak": "tree", "A hammer": "tool", "An apple": "fruit",
    "A carrot": "vegetable", "A violin": "musical instrument", "A sofa": "furniture",
    "A shirt": "clothing", "A bus": "vehicle", "A diamond": "gemstone",
    "A football": "sports equipment", "A triangle": "shape", "A blue whale": "animal",
    "A ruler": "measuring device", "Cheddar": "cheese", "Rye": "grain", "A waltz": "dance",
    "Red": "colour", "A hurricane": "storm", "A novel": "book",
}  # fmt: skip
PLURALS = {
    "mouse": "mice|mouses|mices|mousen", "child": "children|childs|childes|childrens",
    "foot": "feet|foots|feets|footes", "tooth": "teeth|tooths|teeths|toothes",
    "man": "men|mans|mens|manes", "woman": "women|womans|womens|womanes",
    "goose": "geese|gooses|geeses|goosen", "leaf": "leaves|leafs|leafes|leavs",
    "knife": "knives|knifes|knifs|knivs", "city": "cities|citys|cityes|citis",
    "box": "boxes|boxs|boxen|boxies", "church": "churches|churchs|churchies|churchen",
    "potato": "potatoes|potatos|potatose|potaties", "wolf": "wolves|wolfs|wolfes|wolvs",
    "baby": "babies|babys|babyes|babis", "ox": "oxen|oxs|oxens|oxies",
    "dog": "dogs|doges|dogies|dogen", "bus": "buses|buss|busies|busen",
}  # fmt: skip
PASTS = {
    "go": "went|goed|gone|wented", "eat": "ate|eated|eaten|ated", "run": "ran|runned|runs|ranned",
    "see": "saw|seed|seen|sawed", "take": "took|taked|taken|tooked",
    "write": "wrote|writed|written|wroted", "buy": "bought|buyed|boughted|buys",
    "think": "thought|thinked|thoughted|thinks", "bring": "brought|bringed|brang|broughted",
    "teach": "taught|teached|taughted|teaches", "fly": "flew|flied|flown|flewed",
    "drink": "drank|drinked|drunken|dranked", "sing": "sang|singed|sings|sanged",
    "know": "knew|knowed|known|knewed", "give": "gave|gived|given|gaved",
    "break": "broke|breaked|broken|broked", "sleep": "slept|sleeped|slepted|sleeps",
    "catch": "caught|catched|caughted|catches", "walk": "walked|walken|walkt|woke",
    "come": "came|comed|comes|camed",
}  # fmt: skip
SPELLINGS = {
    "to get something": "receive|recieve|receeve|receave",
    "to think that something is true": "believe|beleive|beleeve|belive",
    "a person you like": "friend|freind|frend|friand",
    "the day after today": "tomorrow|tommorow|tomorow|tommorrow",
    "needed": "necessary|neccessary|necesary|neccesary",
    "apart from the others": "separate|seperate|seprate|separete",
    "for sure": "definitely|definately|definitly|defenitely",
    "the day after Wednesday": "Thursday|Thirsday|Thurseday|Thersday",
    "a place with many books": "library|libary|libery|librarey",
    "not the same": "different|diffrent|diferent|differant",
    "very pretty": "beautiful|beautifull|beatiful|beutiful",
    "because of this": "therefore|therfore|therefour|thearfore",
    "a place to eat out": "restaurant|restarant|restaraunt|resturant",
    "the people who rule a country": "government|goverment|governmant|governement",
    "the second month": "February|Febuary|Febrary|Feburary",
    "a meal in the morning": "breakfast|brekfast|breakfist|breckfast",
}  # fmt: skip
AGREEMENT = {
    "The dogs in the garden ___ barking.": "are|is|am|be",
    "My sister ___ in a bank.": "works|work|working|to work",
    "I ___ very tired today.": "am|is|are|be",
    "They ___ been to Spain twice.": "have|has|having|is",
    "She ___ never seen the sea.": "has|have|having|are",
    "We went to the park ___ it was sunny.": "because|although|unless|or",
    "He is taller ___ his brother.": "than|then|that|as",
    "This is the ___ book I have ever read.": "best|better|good|most good",
    "There ___ two cups on the table.": "are|is|am|was",
    "The letter was written ___ Anna.": "by|of|at|on",
    "If it rains, we ___ stay at home.": "will|would have|has|are",
    "Yesterday we ___ a film.": "watched|watch|watches|will watch",
    "She asked me where I ___.": "lived|living|to live|livings",
    "Could you give me ___ apple?": "an|a|the one|some of",
    "I have known him ___ ten years.": "for|since|during of|at",
    "The children washed ___ hands.": "their|there|they|them's",
    "Neither of them ___ ready.": "is|am|be|being",
    "You should ___ more water.": "drink|drinks|drinking|drank",
}  # fmt: skip
EVERYDAY = {
    "What happens to ice when it gets warm?":
        "It melts.|It freezes.|It burns.|It grows.",
    "What happens to water when it gets very cold?":
        "It freezes.|It boils.|It burns.|It melts.",
    "What should you do when a traffic light is red?":
        "Stop.|Drive on.|Turn the radio on.|Go faster.",
    "Why do people wear coats in winter?":
        "To stay warm.|To stay cool.|To run faster.|To see better.",
    "What do plants need to grow?":
        "Water and light.|Salt and oil.|Paper and ink.|Noise and smoke.",
    "Where do fish live?": "In water.|In trees.|In clouds.|In ovens.",
    "What do bees make?": "Honey.|Milk.|Wool.|Bread.",
    "Which animal gives us wool?": "The sheep.|The hen.|The bee.|The cow.",
    "Which animal lays eggs?": "The hen.|The horse.|The cow.|The dog.",
    "What is bread made from?": "Flour.|Sand.|Wood.|Glass.",
    "What is cheese made from?": "Milk.|Water.|Wheat.|Sugar.",
    "What are windows made of?": "Glass.|Paper.|Wool.|Butter.",
    "What colour is fresh snow?": "White.|Green.|Red.|Black.",
    "What colour is grass?": "Green.|Purple.|White.|Orange.",
    "What colour is a ripe banana?": "Yellow.|Blue.|Black.|Pink.",
    "What colour is blood?": "Red.|Green.|Blue.|Yellow.",
    "How many legs does a spider have?": "Eight.|Four.|Six.|Two.",
    "How many legs does a dog have?": "Four.|Two.|Six.|Eight.",
    "How many wheels does a bicycle have?": "Two.|Three.|Five.|Six.",
    "How many fingers are on one hand, with the thumb?": "Five.|Three.|Seven.|Nine.",
    "Where does the sun rise?": "In the east.|In the west.|In the north.|In the south.",
    "Which season comes after winter?": "Spring.|Summer.|Autumn.|Winter again.",
    "Which planet do we live on?": "Earth.|Mars.|Venus.|Jupiter.",
    "What goes around the Earth?": "The Moon.|The Sun.|Mars.|Venus.",
    "Which part of the body do we see with?": "The eyes.|The ears.|The nose.|The knees.",
    "Which part of the body do we hear with?": "The ears.|The eyes.|The hands.|The teeth.",
    "Which organ pumps blood through the body?": "The heart.|The lungs.|The stomach.|The skin.",
    "What do we breathe with?": "The lungs.|The liver.|The bones.|The hair.",
    "Which is the largest ocean?":
        "The Pacific Ocean.|The Atlantic Ocean.|The Indian Ocean.|The Arctic Ocean.",
    "What is the freezing point of water in degrees Celsius?": "0|10|50|100",
    "What is the boiling point of water at sea level in degrees Celsius?": "100|10|50|1000",
    "Sam is hungry. What will he probably do?":
        "Eat something.|Wash the car.|Paint a wall.|Read a map.",
    "Lena is thirsty. What does she need?":
        "A drink.|A hammer.|A pillow.|A stamp.",
    "The room is dark. What should you do to read a book?":
        "Turn on the light.|Close your eyes.|Open the fridge.|Take off your shoes.",
    "It is raining hard. What should you take with you?":
        "An umbrella.|Sunglasses.|A spoon.|A lamp.",
    "The floor is wet. What may happen to someone who runs?":
        "They may slip.|They may fly.|They may sleep.|They may sing.",
    "Tom dropped a glass on a stone floor. What probably happened?":
        "It broke.|It melted.|It floated.|It grew.",
    "The baby is crying at night. What will the parents probably do?":
        "Comfort the baby.|Sell the house.|Water the plants.|Buy a car.",
    "Mia has a bad toothache. Whom should she see?":
        "A dentist.|A pilot.|A baker.|A tailor.",
    "The bus has already left. What can you do?":
        "Wait for the next one.|Ask it to come back.|Push the stop.|Eat the ticket.",
    "The battery of a phone is empty. What does it need?":
        "To be charged.|To be washed.|To be cooked.|To be painted.",
    "A candle is lit in a draught. What may happen?":
        "It may go out.|It may get wet.|It may get heavier.|It may grow.",
    "What do you do with a letter before you post it?":
        "Put it in an envelope.|Put it in water.|Burn it.|Fry it.",
    "All birds have feathers. A robin is a bird. What does a robin have?":
        "Feathers.|Scales.|Wheels.|Leaves.",
    "All squares have four sides. This shape is a square. How many sides does it have?":
        "Four.|Three.|Five.|Six.",
    "Ann is older than Ben. Ben is older than Carl. Who is the oldest?":
        "Ann.|Ben.|Carl.|Nobody.",
    "Ann is faster than Ben. Ben is faster than Carl. Who is the slowest?":
        "Carl.|Ann.|Ben.|Nobody.",
    "Today is Monday. What day will it be in two days?":
        "Wednesday.|Tuesday.|Friday.|Sunday.",
    "Which of these is the heaviest: a feather, a coin, a chair or a truck?":
        "A truck.|A feather.|A coin.|A chair.",
    "Which of these is the smallest: an ant, a cat, a horse or a whale?":
        "An ant.|A cat.|A horse.|A whale.",
    "Which of these is the fastest: a snail, a man on foot, a car or an aeroplane?":
        "An aeroplane.|A snail.|A man on foot.|A car.",
    "Which of these can you eat: a stone, a pear, a shoe or a brick?":
        "A pear.|A stone.|A shoe.|A brick.",
}  # fmt: skip
UNITS = {
    ("minutes", "one hour"): 60, ("hours", "one day"): 24, ("days", "one week"): 7,
    ("months", "one year"): 12, ("centimetres", "one metre"): 100,
    ("metres", "one kilometre"): 1000, ("years", "one decade"): 10, ("items", "one pair"): 2,
    ("eggs", "two dozen"): 24, ("sides", "one triangle"): 3, ("days", "the month of June"): 30,
    ("letters", "the English alphabet"): 26, ("days", "the month of January"): 31,
    ("years", "half a century"): 50,
}  # fmt: skip
NAMES = (
    "Anna", "Tom", "Maria", "Ben", "Clara", "David", "Emma", "Frank", "Grace", "Henry", "Irene",
    "Jack", "Karen", "Leo", "Nina", "Oscar", "Paula",
)  # fmt: skip
THINGS = (
    "a red car", "a blue bike", "a green boat", "a yellow van", "a black dog", "a white cat",
    "a brown horse", "a silver watch", "a gold ring", "a wooden chair", "a glass bowl",
    "an old map", "a new phone", "a grey hat", "a long scarf", "a small drum", "a big tent",
    "a round table", "a warm coat",
)  # fmt: skip
PLACES = (
    "in the kitchen", "in the garden", "at school", "at the station", "in the library",
    "on the beach", "at the airport", "in the museum", "at the market", "in the office",
    "on the roof",
)  # fmt: skip
WORDS = (
    "river", "lamp", "garden", "window", "bread", "silver", "mountain", "letter", "summer",
    "bridge", "candle", "forest", "island", "market", "paper", "school", "thunder", "village",
    "winter", "yellow", "basket", "copper", "dinner", "engine", "flower", "guitar", "hotel",
    "jacket", "kitchen", "ladder",
)  # fmt: skip


if __name__ == "__main__":
    main()
