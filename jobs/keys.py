"""Keys of the person at this machine: what others are told of our environment, and text without them."""

import os

SECRETS = ("OPENAI_API_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")  # never in a log or a message
NOT_NEEDED = ("OPENAI_API_KEY",)  # by any step; not even given to workers


def environment() -> dict[str, str]:
    """Give what workers and steps are told of ours; keys they have no use for are left out."""
    return {name: value for name, value in os.environ.items() if name not in NOT_NEEDED}


def without_secrets(text: str) -> str:
    for name in SECRETS:
        if os.environ.get(name):
            text = text.replace(os.environ[name], "***")
    return text
