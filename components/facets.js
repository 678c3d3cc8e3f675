// Facets: how many rows there are of each value, as bars that filter. Text is set, never parsed.
export default function ({ data, parentElement, setTriggerValue }) {
  let root = parentElement.querySelector(".facets");
  if (!root) {
    root = document.createElement("div");
    root.className = "facets";
    root.unfolded = new Set();
    parentElement.appendChild(root);
  }
  const piece = (tag, name, text) => {
    const made = document.createElement(tag);
    made.className = name;
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const button = (facet, bar, name) => {
    const made = piece("button", name + (bar.chosen ? " chosen" : "") + (bar.outside ? " outside" : ""));
    made.type = "button";
    made.dataset.field = facet.field;
    made.dataset.value = bar.value;
    made.title = bar.title;
    made.setAttribute("aria-label", bar.title);
    made.setAttribute("aria-pressed", bar.chosen ? "true" : "false");
    // A number that rises, so that the same bar pressed twice is two presses.
    made.onclick = (event) =>
      setTriggerValue("pick", {
        field: facet.field, value: bar.value, chosen: bar.chosen, extend: event.shiftKey, at: Date.now(),
      });
    return made;
  };
  const drawOne = (facet) => {
    const box = piece("section", "facet");
    box.append(piece("div", "title", facet.label));
    if (!facet.bars.length) box.append(piece("div", "none", "none"));
    const bars = facet.upright ? piece("div", "columns") : piece("div", "rows-of-bars");
    // A chosen value that stands behind the fold is shown all the same.
    const isOpen = root.unfolded.has(facet.field) || !facet.more;
    const inSight = facet.upright || isOpen ? facet.bars
      : facet.bars.filter((bar, index) => index < facet.shown || bar.chosen);
    for (const bar of inSight) {
      const made = button(facet, bar, facet.upright ? "bar" : "row");
      const fill = piece("span", "fill");
      fill.style[facet.upright ? "height" : "width"] = `${100 * bar.share}%`;
      if (facet.upright) fill.style.height = `${60 * bar.share}px`;
      const name = piece("span", "name", bar.label);
      if (facet.upright) made.append(fill, name);
      else made.append(fill, name, piece("span", "rows", bar.rows));
      bars.append(made);
    }
    box.append(bars);
    if (facet.upright) box.append(piece("div", "more", facet.more));
    else if (facet.more) {
      const fold = piece("button", "more", isOpen ? "fewer" : facet.more);
      fold.type = "button";
      fold.onclick = () => {
        if (isOpen) root.unfolded.delete(facet.field);
        else root.unfolded.add(facet.field);
        draw();
      };
      box.append(fold);
      if (isOpen && facet.rest) box.append(piece("div", "more", facet.rest));
    }
    return box;
  };
  const draw = () => root.replaceChildren(...data.facets.map(drawOne));
  draw();
}
