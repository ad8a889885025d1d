"""The phrases by which an answer is told from a mention: what marks, negates and ends it.

English in earnest; of other languages the words that models use when they hand over a label. What
is not in a list is never credited, so a gap here makes an answer unreadable, not wrong.
"""

from __future__ import annotations

import re

_ANSWER = (
    r"(?:answer|solution|result|score|rating|antwort|ergebnis|réponse|respuesta|risposta|resposta|antwoord"
    r"|odpowiedź|ответ|उत्तर|जवाब)"
)
_NOUN = (
    r"(?:answer|label|categor(?:y|ies)|class(?:ification)?|sentiment|topic|option|choice|intent"
    r"|type|tag|response|result|output|prediction|verdict|conclusion|rating|score|relation(?:ship)?"
    r"|emotion|polarity|genre|domain|letter|antwort|kategorie|klasse|stimmung|thema|lösung"
    r"|bewertung|réponse|catégorie|classe|étiquette|respuesta|categoría|etiqueta|clase|sentimiento"
    r"|risposta|categoria|resposta|antwoord|odpowiedź|ответ|метка|категория|класс|उत्तर|जवाब|लेबल"
    r"|श्रेणी|भावना|الجواب|الإجابة|التصنيف)"
)
_IS = (
    r"(?:is|are|was|be|would be|should be|must be|seems(?: to be)?|appears to be|ist|lautet|est"
    r"|es|è|é|jest|is:|हैं?)"
)
_CJK_NOUN = (
    r"(?:答案|标签|標籤|类别|類別|分类|情感|回答|选项|结果|答え|正解|ラベル|感情"
    r"|정답|답변|답|라벨|감정)"
)
_CJK_IS = r"(?:应该是|應該是|应该选|是|为|為|选|は|が|은|는|이|가|:|：)"
_OPEN = r"[\s\"'`*_(\[{<“”‘„«「『$:：=-]*+"
_ARTICLE = (
    r"(?:(?:an?|the|just|simply|clearly|most likely|likely|probably|mostly|definitely|very|overall"
    r"|slightly|somewhat|strongly|extremely|mildly|quite|overwhelmingly|generally|rather"
    r"|indeed|in|ein|eine|der|die|das|un|une|le|la|el|option|choice|letter|label|category|class)\s+"
    r"[\"'`*(\[“«]*){0,3}"
)

ANSWER_IS = re.compile(
    rf"\b{_ANSWER}\b[\"'*_]*(?:[^.:;!?\n=]{{0,60}}?\b(?:is|are|ist|lautet|est|es|è|é)\b(?!\s+not\b)"
    rf"\s*[:=]?|\s*[:：=])[\s*_\"'$(]*|(?:答案|答え|正解|정답)\s*{_CJK_IS}\s*",
    re.IGNORECASE,
)
"""What stands before a number that is given as the answer."""

MARK = re.compile(
    rf"(?:\b{_NOUN}\b[\"'*_]*\s*(?:\([^()\n]{{0,80}}\)\s*[\"'*_]*)?"
    rf"(?:[:：=>]|->|→|[-–—]\s|\b{_IS}\s|[^.:;,!?\n]{{1,60}}?\b{_IS}\s)"
    rf"|{_CJK_NOUN}[^.:;,!?。,\n]{{0,12}}{_CJK_IS}|(?:故选|选择|选)"
    rf"|\b(?:उत्तर|जवाब|option|choice)\s)"
    rf"{_OPEN}{_ARTICLE}{_OPEN}\Z"
)
"""The end of a text after which comes the answer: "the label is", "Answer:", "option"."""

STRONG_MARK = re.compile(
    rf"(?:####|\b(?:final|correct|right|best|my)\s+{_NOUN}\b[^.;!?\n]{{0,40}}"
    r"|\b(?:so|therefore|thus|hence|overall|in conclusion),?\s+(?:the\s+)?"
    rf"{_NOUN}\b[^.;!?\n]{{0,40}})\Z"
)
"""A mark that says that it is the last word; it counts more than the others."""

LINKING = re.compile(
    rf"(?:(?P<start>\A)|[:：=>→–—]|[-,]\s|\b{_IS}\s|\b(?:it's|that's|say|choose|chose|pick"
    r"|select|guess|as|under|to|into|about|with|but|rather|expresses|conveys|shows|indicates|suggests"
    r"|think|believe|says|asking for|asks for|asks about|(?:category|class|topic) of"
    r"|(?:rate|give) (?:it|this)|so|hence|thus|therefore|reflects|has|carries|classified"
    r"|categorized|labeled|labelled|sondern|sino|mais|как|это|est-ce)\s"
    r"|[\"'*`(\[“«「])"
    rf"{_OPEN}{_ARTICLE}{_OPEN}\Z"
)
"""The beginning of a sentence, or its part, that says of something that it is ..."""

NEGATED_BEFORE = re.compile(
    r"(?:\b(?:not|never|neither|nor|cannot|\w{1,8}n't|hardly|barely|impossible|hard"
    r"|unable|whether|if|unless|than|without"
    r"|opposite of|instead of|as opposed to|non|kein\w{0,2}|nicht|pas|não|nie|не|niet|geen|inte"
    r"|ikke|không|bukan|tidak|ليس|ليست|غير)"
    r"(?:\s+(?!but\b|rather\b|so\b|hence\b|thus\b|therefore\b|sondern\b|sino\b|mais\b)"
    r"[^\s.,;:!?]{1,14}){0,4}\s+|\bno\s+(?:(?:longer|es|está)\s+)?)"
    r"[\"'`*(\[“«]*(?:an?\s+|the\s+)?[\"'`*(\[“«]*\Z"
)
NEGATED_BEFORE_UNSPACED = re.compile(r"(?:不|非|没|沒|無|无|未|否|ไม่)[是为為有]?[\"'“「]*\Z")
NEGATED_AFTER = re.compile(
    r"[\"'`*)\]”»」]*\s*(?:(?:is|was|are|would|does|do|can|could|may|should)\s?(?:not\b|n't|never\b"
    r"|wrong\b|incorrect\b|false\b|be\s+(?:wrong|incorrect))|cannot\b|can't\b|won't\b"
    r"|ist\s+(?:nicht|falsch)\b|n'est\s+pas|no\s+es\b|नहीं|ではな|じゃな|でな|이\s?아니|가\s?아니|不[是对對]|değil\b)"
)

TAIL = re.compile(
    r"[\"'`*)\]}>”’»」』$_]*\s*(?:"
    r"\Z|\n|[^\w\s&/|+=~@#%-]|[-–—]\s|[–—(]"
    r"|(?:because|since|due|but|though|although|so|rather|instead|based|to me|overall|in nature"
    r"|in tone|according|weil|denn|parce|car|porque|perché"
    r"|है|हैं|होगा|です|だ|である|입니다|이다|임|的|。)(?![^\W\d_]))"
)
"""How a text goes on where the answer ends."""

GOES_ON = re.compile(r"[\"'`*)\]]*\s+(?:and|as|while|for|with|which|given|here|too)\b")
"""More of it, behind what the text is said to be. "The human and" is none: it says nothing."""

AFTER_YES_OR_NO = re.compile(
    r"\s+(?:it|they|he|she|i|we|you|this|that|there|because|since|as|but|and|or|nor|so)\b"
)
"""What makes "no" an answer, where "no reason" has the determiner; and "Yes it is"."""

HEAD_NOUN = re.compile(
    r"[\"'`*)\]”»]*\s+(?:labels?|class|category|sentiments?|reviews?|answer"
    r"|option|topic|tone|one|feeling|opinion|emotion|intent|stars?|rating|text|statement|points?"
    r"|out of \d+|news|question|tweet|comment|feedback|article|sentence|email|message)\b"
)
"""The noun that a label may stand before: "a positive review"."""

IS_THE_ANSWER = re.compile(
    r"[\"'`*)\]”»]*\s+(?:is|would be|ist|est)\s+(?:right|correct"
    rf"|(?:the|my|die|la)\b[^.;!?\n]{{0,30}}?\b{_NOUN})\b"
)
"""After the answer: "C is the right option"."""

VERB_LAST = re.compile(r"[\"'`”」]*\s*(?:है|हैं|होगा|です|だ|である|입니다|이다|임)(?![^\W\d_])")
"""Languages that put "is" behind the label."""

INTERJECTION = re.compile(
    r"\A(?:sure(?: thing)?|certainly|of course|absolutely|okay|ok|alright|great"
    r"|great question|got it|thanks?(?: you)?|hello|hi|hmm+|well|let me think|here you go"
    r"|natürlich|gerne|bien sûr|claro)"
    r"[!,.:]+\s*"
)

LEAD_IN = re.compile(r"(?:[:：]|\A#{1,6}\s[^\n]*|\A```\w*)\Z")
"""A line that only announces the next: "Here is the label:", a heading, a fence."""
