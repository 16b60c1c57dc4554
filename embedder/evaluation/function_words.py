"""English function words: articles, pronouns, prepositions, conjunctions, auxiliaries, particles.

A short list of our own, closed classes only. Lists made for search, scikit-learn's among them, hold
words with content ("system", "fire", "bill"), which would be counted wrongly here.
"""

import re
from typing import Final

_LISTED: Final = """
a an the this that these those such some any no every each either neither both all half another
other others own same enough much many more most few fewer fewest less least several
i me my mine myself we us our ours ourselves you your yours yourself yourselves he him his himself
she her hers herself it its itself they them their theirs themselves one oneself who whom whose
which what whoever whatever whichever someone somebody something anyone anybody anything everyone
everybody everything nobody nothing none
am is are was were be been being do does did done doing have has had having can could may might
must shall should will would ought cannot
about above across after against along amid among around as at before behind below beneath beside
besides between beyond by concerning despite down during except for from in inside into like near
of off on onto out outside over past per since than through throughout till to toward towards under
underneath until unlike up upon versus via with within without
and but or nor so yet because although though unless while whereas whether if when whenever where
wherever how why then else
not very too also just only even still again ever never there here now quite rather almost already
ain't can't let's shan't won't y'all
"""

FUNCTION_WORDS: Final = frozenset(_LISTED.split())

_CLITIC: Final = re.compile(r"(?:n't|'(?:s|m|re|ve|ll|d))$")
"""What hangs on a word and is a function word itself."""


def is_function_word(word: str) -> bool:
    """Whether a word is one, in any letter case; a contraction is looked at without its end.

    >>> [is_function_word(word) for word in ("The", "don't", "it's", "dog's", "system")]
    [True, True, True, False, False]
    """
    lowered = word.lower().replace("\u2019", "'")
    return lowered in FUNCTION_WORDS or _CLITIC.sub("", lowered) in FUNCTION_WORDS
