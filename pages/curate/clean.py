"""Exact duplicates: one row of each task stays."""

import streamlit as st

import ui

RULES = {
    "platypus": "Equal instruction and input; the longest response stays (Platypus)",
    "magicoder": "Seed, problem or solution seen before; the first stays (Magicoder, for generated rows)",
}

ui.heading("Exact duplicates", "One row of each task stays. Takes seconds, costs nothing.")
counts = ui.funnel()
if not counts.samples:
    ui.empty("There are no samples to clean yet.", "import", "Import my data")
else:
    stage = counts.stages[0]
    ui.stale_note(stage)
    used = stage["settings"]["rule"] if stage["ran"] else "platypus"
    if not ui.show_jobs_of(("clean",)):
        rule = st.radio(
            "Rule", list(RULES), index=list(RULES).index(used), key="clean_rule", format_func=RULES.get
        )
        st.button(
            "Run again" if stage["ran"] else "Drop exact duplicates",
            type="primary",
            key="clean_run",
            icon=":material/play_arrow:",
            on_click=ui.start,
            args=("clean", {"rule": rule}),
        )
    if stage["ran"]:
        ui.show_counts(stage)
        ui.show_reasons(stage)
        ui.link("near-duplicates", "Next: near-duplicates", icon=":material/arrow_forward:")
