"""What a user might say about a scene: synonyms and sentence layouts.

What stands twice in a table is said twice as often. `{color}` and the like are blanks that `describe` fills.
"""

from __future__ import annotations

COLOR_WORDS = {
    "red": ("red", "red", "crimson", "scarlet"),
    "orange": ("orange", "orange", "tangerine"),
    "yellow": ("yellow", "yellow", "golden"),
    "green": ("green", "green", "emerald"),
    "cyan": ("cyan", "cyan", "turquoise", "aqua"),
    "blue": ("blue", "blue", "azure", "cobalt"),
    "purple": ("purple", "purple", "violet"),
    "pink": ("pink", "pink", "rose"),
    "white": ("white", "white", "snowy"),
    "black": ("black", "black", "ebony"),
    "gray": ("gray", "grey"),
}
SHAPE_WORDS = {
    "circle": ("circle", "circle", "ball", "disc", "dot"),
    "square": ("square", "square", "box", "block"),
    "triangle": ("triangle", "triangle", "pyramid"),
    "star": ("star",),
    "cross": ("cross", "cross", "plus"),
    "ring": ("ring", "ring", "hoop", "donut"),
}
SIZE_WORDS = {
    "small": ("small", "tiny", "little"),
    "medium": ("", "", "", "medium"),
    "large": ("large", "big", "huge"),
}

VERBS = ("moves", "travels", "slides", "glides", "drifts", "goes", "floats", "flies", "is moving")
PARTICIPLES = ("moving", "traveling", "sliding", "gliding", "drifting", "going", "floating", "flying")
WAYS = {
    "right": (
        *("right", "right", "to the right", "to the right"),
        *("from left to right", "rightward", "towards the right", "toward the right side"),
    ),
    "left": (
        *("left", "left", "to the left", "to the left"),
        *("from right to left", "leftward", "towards the left", "toward the left side"),
    ),
    "up": ("up", "up", "upward", "upwards", "to the top", "from bottom to top"),
    "down": ("down", "down", "downward", "downwards", "to the bottom", "from top to bottom"),
}
DIAGONAL_WAYS = (
    "diagonally {vertical} and {side}",
    "diagonally {vertical} and to the {side}",
    "{vertical} and to the {side}",
    "{vertical} and {side}",
    "to the {edge} {side}",
    "towards the {edge} {side} corner",
    "diagonally to the {edge} {side}",
    "{vertical} {side}",
)
DIAGONALS = {
    "upright": {"vertical": "up", "edge": "top", "side": "right"},
    "upleft": {"vertical": "up", "edge": "top", "side": "left"},
    "downright": {"vertical": "down", "edge": "bottom", "side": "right"},
    "downleft": {"vertical": "down", "edge": "bottom", "side": "left"},
}
WAYS |= {motion: tuple(way.format(**words) for way in DIAGONAL_WAYS) for motion, words in DIAGONALS.items()}

ACTIONS = {  # said without a verb of motion and a way: "a ball ..."
    "up": ("rises", "climbs"),
    "down": ("falls", "sinks", "drops"),
    "bounce": (
        *("bounces", "bounces", "bounces up and down", "is bouncing"),
        *("hops", "jumps up and down", "is hopping up and down"),
    ),
    "orbit": (
        *("circles around", "moves in a circle", "orbits", "goes around in a circle"),
        *("is circling", "travels in circles", "moves along a circular path", "loops around"),
    ),
    "grow": (
        *("grows", "grows", "gets bigger", "gets larger"),
        *("expands", "is growing", "becomes larger", "inflates"),
    ),
    "shrink": (
        *("shrinks", "shrinks", "gets smaller", "contracts"),
        *("is shrinking", "becomes smaller", "becomes tiny", "deflates"),
    ),
    "spin": (
        *("spins", "spins", "rotates", "is spinning", "is rotating"),
        *("turns around", "twirls", "spins in place", "rotates clockwise"),
    ),
    "blink": (
        *("blinks", "blinks", "flashes", "is blinking", "is flashing"),
        *("flickers on and off", "disappears and reappears", "vanishes and returns"),
    ),
    "still": (
        *("stays still", "stands still", "does not move", "is not moving", "is stationary"),
        *("remains still", "stays in place", "rests", "is motionless"),
    ),
}
DOINGS = {  # the same as participles: "a ball ... on a white background"
    "up": ("rising", "climbing"),
    "down": ("falling", "sinking", "dropping"),
    "bounce": ("bouncing", "bouncing up and down", "hopping", "jumping up and down"),
    "orbit": ("circling around", "moving in a circle", "orbiting", "going around in a circle", "moving in circles"),
    "grow": ("growing", "growing", "getting bigger", "getting larger", "expanding"),
    "shrink": ("shrinking", "shrinking", "getting smaller", "contracting"),
    "spin": ("spinning", "spinning", "rotating", "turning around", "spinning in place"),
    "blink": ("blinking", "blinking", "flashing", "flickering on and off"),
    "still": ("standing still", "staying still", "not moving", "resting"),
}
NEW_ACTIONS = {"swing": ("swings", "swings", "swings from side to side", "is swinging")}
NEW_DOINGS = {"swing": ("swinging", "swinging from side to side")}
"""Of motions that the embedded model never met; their words are no part of `vocabulary`."""
CANONICAL_MOTION = {
    **{side: f"moves {side}" for side in ("right", "left", "up", "down")},
    **{motion: f"moves {WAYS[motion][0]}" for motion in DIAGONALS},
    **{motion: f"{motion}s" for motion in ("bounce", "grow", "shrink", "spin", "blink")},
    "orbit": "moves in a circle",
    "still": "stays still",
}

ARTICLES = ("a", "a", "a", "the", "one", "")
OBJECTS = ("{size} {color} {shape}",) * 17 + (
    "{size} {shape} colored {color}",
    "{size} {shape} in {color}",
    "{color} {size} {shape}",
)
PLACES = (
    "on a {color} background",
    "on a {color} background",
    "on a {color} background",
    "over a {color} background",
    "in front of a {color} background",
    "against a {color} backdrop",
    "on a {color} backdrop",
    "against a {color} background",
    "with a {color} background",
    "on {color}",
    "over {color}",
)
VIDEO_OPENINGS = ("", "", "", "", "a video of", "an animation of", "a clip of", "a scene where")
IMAGE_OPENINGS = ("", "", "", "an image of", "a picture of", "a photo of")
LAYOUTS = (
    *("{opening} {article} {object} {motion} {place}",) * 17,
    *("{opening} {article} {object} {doing} {place}",) * 3,
    *("{place}, {article} {object} {motion}",) * 3,
    *("{opening} {article} {object} {place}, it {motion}",) * 2,
)
IMAGE_LAYOUTS = ("{opening} {article} {object} {place}",) * 7 + ("{place}, {article} {object}",)
CANONICAL_LAYOUT = "a {size} {color} {shape} {motion} on a {background} background"

EXTRA_WORDS = ("one", "two", "three", "it", "then", "back", "comes", "and", "again", "while", "slowly", "quickly")
"""Words of no table that a user may well try, above all about a clip that exists: "it comes back"."""
