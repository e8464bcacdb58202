"""The voices of text-to-speech, in the order in which they are published, each with its maker's own word for it."""

VOICES: tuple[tuple[str, str], ...] = (
    ("Zephyr", "Bright"),
    ("Algenib", "Gravelly"),
    ("Algieba", "Smooth"),
    ("Aoede", "Breezy"),
    ("Autonoe", "Bright"),
    ("Callirrhoe", "Easy-going"),
    ("Despina", "Smooth"),
    ("Erinome", "Clear"),
    ("Fenrir", "Excitable"),
    ("Iapetus", "Clear"),
    ("Kore", "Firm"),
    ("Laomedeia", "Upbeat"),
    ("Leda", "Youthful"),
    ("Orus", "Firm"),
    ("Sadaltager", "Knowledgeable"),
    ("Schedar", "Even"),
    ("Umbriel", "Easy-going"),
    ("Vindemiatrix", "Gentle"),
    ("Zubenelgenubi", "Casual"),
)
