"""The frame of the app: names the pages, in the order data flows, with live counts in the menu."""

import streamlit as st

import ui

st.set_page_config(page_title="Winnow", page_icon=str(ui.ROOT / "docs" / "icon.png"), layout="wide")


def _count(number: int) -> str:
    return f" · {number:,}" if number else ""


def _menu() -> dict[str, list["st.Page"]]:  # type: ignore[name-defined]
    seeds, rows, questions, waiting, runs = 0, 0, 0, 0, 0
    try:
        seeds, rows, questions, waiting = ui.menu_counts()
        runs = ui.count_runs()
    except Exception as error:  # the page itself will say it, too; a menu must always be there
        ui.log.error("counting for the menu", exc_info=error)

    def page(name: str, title: str, icon: str, **more: object) -> "st.Page":  # type: ignore[name-defined]
        return st.Page(ui.PAGES[name], title=title, icon=f":material/{icon}:", url_path=name, **more)

    return {
        "": [page("overview", "Overview", "dashboard", default=True)],
        "Create": [
            page("harvest", "Harvest", "agriculture"),
            page("seeds", f"Seeds{_count(seeds)}", "grass"),
            page("documents", "Documents", "folder_open", visibility="hidden"),
            page("generate", "Generate", "auto_awesome"),
            page("replies", "Replies", "forum", visibility="hidden"),
            page("prompts", "Prompt bench", "compare"),
            page("evolve", "Evolve", "trending_up"),
            page("trees", "Family trees", "account_tree"),
            page("import", "Import", "upload_file"),
            page("samples", f"Samples{_count(rows)}", "table_rows"),
            page("row", "Row", "article", visibility="hidden"),
        ],
        "Curate": [
            page("clean", "Exact duplicates", "content_copy"),
            page("near-duplicates", "Near-duplicates", "difference"),
            page("decontaminate", "Contamination", "science"),
            page("insights", "Insights", "bar_chart"),
            page("review", f"Review{_count(questions)}", "rate_review"),
        ],
        "Train": [
            page("datasets", "Datasets", "inventory_2"),
            page("train", "Train", "model_training"),
            page("runs", f"Runs{_count(runs)}", "show_chart"),
            page("run", "Run", "monitoring", visibility="hidden"),
            page("chat", "Chat", "forum"),
        ],
        "Work": [
            page("jobs", f"Jobs{_count(waiting)}", "manufacturing"),
            page("settings", "Settings", "settings"),
        ],
    }


chosen = st.navigation(_menu(), expanded=True)
with ui.readable_errors():
    chosen.run()
