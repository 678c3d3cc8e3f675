"""What the command line shows: a progress bar on a terminal, and reports as lines for people."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

INDENT = "  "
FOR_MACHINES = {
    "unchanged",
    "attached",
    "edges_sha256",
    "bad_rows",
}  # told otherwise, or of no use to a person
WIDTH = 100  # characters of a text shown in a line


class Bar:
    """Shows progress on a terminal, and nothing where standard error is a file or a pipe."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._what = ""

    def __call__(self, what: str, done: int, total: int) -> None:
        if not sys.stderr.isatty():
            if what != self._what and what.startswith("attached"):
                sys.stderr.write(f"winnow: {what}\n")  # worth a line in a log, too
            self._what = what
            return
        if self._bar is None or what != self._what:
            self.close()
            self._open(what, total)
        self._bar.total = total or None
        self._bar.n = done
        self._bar.refresh()

    def _open(self, what: str, total: int) -> None:
        from tqdm import tqdm

        self._what = what
        self._bar = tqdm(
            desc=what, total=total or None, file=sys.stderr, leave=False, unit="", dynamic_ncols=True
        )

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def tell(command: str, report: Mapping[str, Any]) -> None:
    """Print a report for a person."""
    if report.get("unchanged"):
        print("Nothing to do: this was done before, and nothing changed since.")
    if command == "review" and "items" in report:
        for item in report["items"]:
            _tell_item(item)
        report = {key: value for key, value in report.items() if key != "items"}
    if command == "clean" and "languages" in report:
        _tell_languages(report["languages"])
        report = {key: value for key, value in report.items() if key != "languages"}
    _tell_mapping(report, "")


def _tell_item(item: Mapping[str, Any]) -> None:
    print(f"{item['item']}  {item['kind']}  {item['state']}  {item['evidence']['why']}")
    for side in ("left", "right"):
        row = item[side]
        if row is not None:
            print(f"  {side:5} {row['id'][:12]}  {_short(row['instruction'] + ' ' + row['input'])}")
    for match in item["evidence"].get("matches", [])[:1]:
        print(f"  item  {visible(match['benchmark'])} {visible(match['item'])}  joint {match['joint']:.3f}")
    for person, verdict in item["votes"].items():
        print(f"  {visible(person)}: {verdict}")


def _tell_languages(languages: Mapping[str, Any]) -> None:
    """Print what `clean` made of each language: a line, and below it examples of what was dropped and why."""
    for language, one in languages.items():
        dropped = sum(one["dropped"].values())
        waiting = f", {one['pending']:,} put back" if one["pending"] else ""
        print(f"{visible(language)}: {one['in']:,} in, {one['kept']:,} kept{waiting}, {dropped:,} dropped")
        for reason, number in one["dropped"].items():
            print(f"{INDENT}{reason.replace('_', ' ')}: {number:,}")
            for example in one["examples"].get(reason, []):
                keeper = f" repeats {example['keeper'][:12]}" if example["keeper"] else ""
                print(f"{INDENT * 2}{example['id'][:12]}{keeper}  {_short(example['problem'])}")


def _tell_mapping(values: Mapping[str, Any], indent: str) -> None:
    for key, value in values.items():
        if key in FOR_MACHINES or value is None or value == [] or value == {}:
            continue
        label = f"{indent}{visible(str(key)).replace('_', ' ')}"
        if isinstance(value, Mapping):
            print(f"{label}:")
            _tell_mapping(value, indent + INDENT)
        elif isinstance(value, Sequence) and not isinstance(value, str):
            print(f"{label}:")
            _tell_list(value, indent + INDENT)
        else:
            print(f"{label}: {_plain(value, indent)}")


def _tell_list(values: Sequence[Any], indent: str) -> None:
    for value in values:
        if isinstance(value, Mapping):
            print(f"{indent}-")
            _tell_mapping(value, indent + INDENT)
        else:
            print(f"{indent}- {_plain(value, indent)}")


def _plain(value: Any, indent: str) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4f}".rstrip("0").rstrip(".")
    text = visible(str(value))
    return text if "\n" not in text else "\n" + "\n".join(f"{indent}    {line}" for line in text.split("\n"))


def _short(text: str) -> str:
    one_line = " ".join(visible(text).split())
    return one_line if len(one_line) <= WIDTH else one_line[: WIDTH - 1] + "…"


def visible(text: str) -> str:
    """Show control characters as marks: text of strangers must not steer the terminal."""
    return "".join(c if c in "\n\t" or c.isprintable() else f"\\x{ord(c):02x}" for c in text)
