"""Languages told from text."""

import pytest

from flows.documents.language import SAMPLE_CHARACTERS, language_of


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The keeper of the lighthouse trims the lamp at dusk and writes into his book.", "en"),
        ("Der Hund läuft am Abend durch den Wald und bellt den Mond an, bis es hell wird.", "de"),
        ("Le gardien du phare monte chaque soir l'escalier pour allumer la lampe.", "fr"),
        (
            "灯台守は毎晩、ランプに火をともすために長い階段を上っていきます。海はとても静かで、"
            "遠くに船の明かりが見えます。",
            "ja",
        ),
        ("Сторож маяка каждый вечер поднимается по лестнице, чтобы зажечь лампу.", "ru"),
    ],
)
def test_a_sentence_tells_its_language(text: str, language: str) -> None:
    """ISO 639-1, as filters and people expect it."""
    assert language_of(text) == language


@pytest.mark.parametrize("text", ["", "x = 1", "12.5 17.0 99.1 " * 50, "\x00\ufffd" * 100])
def test_what_is_no_language_is_none(text: str) -> None:
    """Too short, numbers, rubbish."""
    assert language_of(text) == ""


def test_the_middle_of_a_long_text_counts() -> None:
    """A licence in English at its beginning does not make a German book English."""
    english = "Permission is hereby granted, free of charge, to any person. " * 40
    german = "Der Hund läuft am Abend durch den Wald und bellt den Mond an. " * 400
    assert len(german) > 4 * SAMPLE_CHARACTERS
    assert language_of(english + german) == "de"
