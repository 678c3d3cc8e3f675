// Histograms on one axis each, with lines across them. Every bar is a button. Text is set, never parsed.
export default function ({ data, parentElement, setTriggerValue }) {
  let root = parentElement.querySelector(".histograms");
  if (!root) {
    root = document.createElement("div");
    root.className = "histograms";
    parentElement.appendChild(root);
  }
  root.style.gridTemplateColumns = `repeat(${data.columns}, minmax(0, 1fr))`;
  const piece = (tag, name, text) => {
    const made = document.createElement(tag);
    made.className = name;
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const barOf = (bar) => {
    const state = (bar.chosen ? " chosen" : "") + (bar.outside ? " outside" : "");
    const made = piece(bar.rows ? "button" : "div", "bar" + state);
    if (!bar.rows) return made;
    made.type = "button";
    made.tabIndex = -1;
    for (const [field, value] of Object.entries(bar.query)) made.dataset[field] = value;
    made.dataset.rows = bar.rows;
    made.dataset.key = JSON.stringify(bar.query);
    made.title = bar.title;
    made.setAttribute("aria-label", bar.title);
    made.setAttribute("aria-pressed", bar.chosen ? "true" : "false");
    const fill = piece("span", "fill");
    fill.style.height = `${100 * bar.share}%`;
    made.append(fill);
    // A number that rises, so that the same bar pressed twice is two presses.
    made.onclick = (event) =>
      setTriggerValue("pick", { query: bar.query, chosen: bar.chosen, extend: event.shiftKey, at: Date.now() });
    return made;
  };
  // One stop of the Tab key a panel; the arrows go from bar to bar, and turn no page meanwhile.
  const walk = (columns) => {
    const bars = [...columns.querySelectorAll("button")];
    if (!bars.length) return;
    (bars.find((bar) => bar.classList.contains("chosen")) || bars[0]).tabIndex = 0;
    columns.onkeydown = (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      const next = step && bars[bars.indexOf(event.target) + step];
      if (!step) return;
      event.preventDefault();
      event.stopPropagation();
      if (!next) return;
      event.target.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    };
  };
  const markOf = (mark) => {
    const made = piece("div", `mark ${mark.kind}`);
    made.style.left = `${100 * mark.at}%`;
    made.style.top = `${mark.top}px`;
    if (mark.label) made.append(piece("span", "label", mark.label));
    return made;
  };
  const panelOf = (panel) => {
    const box = piece("section", "panel");
    const head = piece("div", "head");
    head.append(piece("span", "title", panel.title), piece("span", "note", panel.note));
    const plot = piece("div", "plot");
    plot.style.height = `${panel.height}px`;
    plot.style.paddingTop = `${panel.above}px`;
    const columns = piece("div", "columns");
    columns.append(...panel.bars.map(barOf));
    walk(columns);
    plot.append(columns, ...panel.marks.map(markOf));
    box.append(head, plot);
    if (panel.ticks.length) {
      const ticks = piece("div", "ticks");
      for (const tick of panel.ticks) {
        const made = piece("span", "tick", tick.label);
        made.style.left = `${100 * tick.at}%`;
        ticks.append(made);
      }
      box.append(ticks);
    }
    return box;
  };
  // A keyboard on its way through the bars stays where it is when the page is drawn anew.
  const focused = parentElement.getRootNode().activeElement;
  const held = focused && root.contains(focused) ? focused.dataset.key : null;
  root.replaceChildren(...data.panels.map(panelOf));
  if (held !== null) [...root.querySelectorAll("button")].find((bar) => bar.dataset.key === held)?.focus();
}
