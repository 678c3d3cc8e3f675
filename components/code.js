// Code with its line numbers; some lines stand out. Text is set, never parsed.
export default function ({ data, parentElement }) {
  let root = parentElement.querySelector(".cards");
  if (!root) {
    root = document.createElement("div");
    root.className = "cards";
    parentElement.appendChild(root);
  }
  if (root.dataset.item === data.item) return; // what is there already keeps its place
  root.dataset.item = data.item;
  root.className = data.columns > 2 ? "cards small" : "cards";
  root.style.gridTemplateColumns = `repeat(${data.columns}, minmax(0, 1fr))`;
  const piece = (name, text) => {
    const made = document.createElement("div");
    made.className = name;
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const drawn = data.cards.map((card) => {
    const box = piece("card");
    const head = piece("head");
    const title = document.createElement("b");
    title.textContent = card.title;
    const note = document.createElement("span");
    note.className = "note";
    note.textContent = card.note;
    head.append(title, note);
    head.title = `${card.title} ${card.note}`;
    const body = piece(card.to ? "body" : "body whole"); // nothing stands out: nothing is dimmed
    body.tabIndex = 0;
    body.style.height = data.height ? `${data.height}px` : "auto";
    card.lines.forEach((text, index) => {
      const number = card.first + index;
      const line = piece("line" + (number >= card.from && number <= card.to ? " in" : ""));
      line.append(piece("number", String(number)), piece("text", text || " "));
      body.append(line);
    });
    box.append(head, body);
    return box;
  });
  root.replaceChildren(...drawn);
  for (const body of root.querySelectorAll(".body")) {
    const mark = body.querySelector(".in");
    if (mark) body.scrollTop = Math.max(0, mark.offsetTop - 72);
  }
}
