// Two texts side by side. Text is set, never parsed: nothing that stands in a row can become an element
// (faults.md S18-S20).

// What this browser has on the screen, and since when. The server knows only when it sent a case, not when it
// was drawn; so a verdict's key is let through only here, for the case that could be read.
const LOOK = 350; // milliseconds
const screen = { root: null, item: "", since: 0 };

function isTyped(at) {
  return at.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(at.tagName);
}

// All buttons are of the case that is drawn: they are replaced one by one, and not in one step with the texts.
function isReadable(verdicts) {
  const key = "-" + screen.item.replace(/[^\w-]/g, "-"); // as the class of a keyed button spells ID@VERSION
  const buttons = [...verdicts.querySelectorAll('[class*="st-key-"]')];
  const isOf = (button) => [...button.classList].some((name) => name.endsWith(key));
  const isDrawn = screen.root?.isConnected && buttons.length > 0 && buttons.every(isOf);
  return isDrawn && performance.now() - screen.since >= LOOK;
}

window.winnowGate?.abort(); // of an earlier copy of this file
window.winnowGate = new AbortController();
window.addEventListener(
  "keydown",
  (event) => {
    const verdicts = document.querySelector(".st-key-verdicts");
    if (!verdicts || !/^[1-9]$/.test(event.key) || isTyped(event.composedPath()[0])) return;
    if (!isReadable(verdicts)) event.stopImmediatePropagation();
  },
  { capture: true, signal: window.winnowGate.signal },
);

export default function ({ data, parentElement }) {
  let root = parentElement.querySelector(".pair");
  if (!root) {
    root = document.createElement("div"); root.className = "pair"; parentElement.appendChild(root);
  }
  root.replaceChildren();
  root.dataset.item = data.item;
  root.classList.toggle("many", data.sides.length > 2);
  if (screen.item !== data.item || screen.root !== root) {
    Object.assign(screen, { root, item: data.item, since: performance.now() });
  }
  for (const side of data.sides) {
    const box = document.createElement("div"); box.className = "side";
    const head = document.createElement("div"); head.className = "head";
    const title = document.createElement("b"); title.textContent = side.title;
    const note = document.createElement("span"); note.textContent = side.note;
    head.append(title, note); box.append(head);
    for (const part of side.parts) {
      const label = document.createElement("div"); label.className = "label"; label.textContent = part.label;
      const pre = document.createElement("pre");
      if (!part.spans.length) { pre.textContent = "empty"; pre.className = "none"; }
      for (const [text, kind] of part.spans) {
        const piece = document.createElement("span"); piece.textContent = text;
        if (kind) piece.className = kind;
        pre.append(piece);
      }
      box.append(...(part.label ? [label] : []), pre);
    }
    root.append(box);
  }
}
