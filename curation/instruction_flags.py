def flags_in(text):
    return []
