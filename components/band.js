// How many pairs there are at each cosine, with two handles: people are asked between them, and above the upper
// one rows fall without a question. What a band would bring is told while a handle moves. Text is set, never
// parsed.
export default function ({ data, parentElement, setTriggerValue }) {
  let root = parentElement.querySelector(".band");
  if (!root) {
    root = document.createElement("div");
    root.className = "band";
    parentElement.appendChild(root);
  }
  // A handle that is held, or that was moved since the server last agreed, is not drawn back under the hand.
  const known = root.winnow;
  if (known?.isHeld) return;
  const asked = { low: data.low, high: data.high };
  const isOurs = known?.isMoved && known.steps === data.steps.length;
  const at = isOurs ? known.at : asked; // places among the steps
  const isAgreed = asked.low === at.low && asked.high === at.high;
  if (known?.shown === data.shown && known.at.low === at.low && known.at.high === at.high) {
    known.isMoved &&= !isAgreed;
    return;
  }
  const { shown } = data;
  const state = (root.winnow = { shown, steps: data.steps.length, at, isHeld: false, isMoved: !isAgreed });
  const piece = (tag, name, text) => {
    const made = document.createElement(tag);
    made.className = name;
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const steps = data.steps; // the cosines that a handle can stand at; the last is 1
  const last = steps.length - 1;
  const place = (step) => `${(100 * (steps[step] - steps[0])) / (steps[last] - steps[0])}%`;
  const number = (count) => count.toLocaleString("en-US");
  const some = (count, one, more) => `${number(count)} ${count === 1 ? one : more}`;
  const time = (seconds) => {
    const minutes = Math.round(seconds / 60);
    if (minutes < 1) return "under a minute";
    return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  };

  const plot = piece("div", "plot");
  const zone = piece("div", "zone");
  const columns = piece("div", "columns");
  const most = Math.max(1, ...data.pairs);
  data.pairs.forEach((pairs, step) => {
    const bar = piece("button", "bar");
    bar.type = "button";
    bar.tabIndex = -1;
    bar.style.flexGrow = String(1000 * (steps[step + 1] - steps[step])); // a sum below 1 would not fill the width
    bar.dataset.bin = String(step);
    bar.title = `${steps[step].toFixed(2)} to ${steps[step + 1].toFixed(2)}: ${some(pairs, "pair", "pairs")}`;
    bar.setAttribute("aria-label", bar.title + ", read them");
    const fill = piece("span", "fill");
    fill.style.height = pairs ? `${Math.max(1, (100 * pairs) / most)}%` : "0";
    bar.append(fill);
    bar.onclick = () => setTriggerValue("bin", { step, at: Date.now() });
    columns.append(bar);
  });
  plot.append(zone, columns);
  const ticks = piece("div", "ticks");
  steps.forEach((cosine, step) => {
    if (step !== 0 && step !== last && Math.round(cosine * 100) % 5) return;
    const tick = piece("span", "tick", cosine.toFixed(2));
    tick.style.left = place(step);
    ticks.append(tick);
  });

  const told = piece("div", "told");
  told.setAttribute("role", "status");
  const tell = () => {
    const { low, high } = at;
    const inside = data.pairs.slice(low, high).reduce((sum, pairs) => sum + pairs, 0);
    const asked = Math.min(data.budget, data.questions[low][high]);
    const pace = data.measured ? "your team's pace" : "a guess until ten votes tell";
    const parts = [
      ["Inside", `${some(inside, "pair", "pairs")}; ${some(data.gray[low][high], "row", "rows")} in doubt`],
      ["To ask", `${some(asked, "question", "questions")} of ${number(data.questions[low][high])}, about ` +
        `${time(asked * data.pace)} at ${Number(data.pace.toFixed(1))} s each (${pace})`],
      ["Fall unasked", `${some(data.sure[low][high], "row", "rows")}` +
        (asked < data.questions[low][high] ? ", and the doubtful ones beyond the budget" : "")],
      ["Clusters", `${number(data.clusters[low])} from ${steps[low].toFixed(2)} on`],
    ];
    told.replaceChildren(...parts.map(([name, text]) => {
      const one = piece("div", "part");
      one.append(piece("span", "name", name), piece("span", "text", text));
      return one;
    }));
  };

  const handles = {};
  const draw = () => {
    zone.style.left = place(at.low);
    zone.style.width = `calc(${place(at.high)} - ${place(at.low)})`;
    for (const [name, handle] of Object.entries(handles)) {
      handle.style.left = place(at[name]);
      handle.querySelector(".label").textContent =
        `${name === "low" ? "ask from" : "drop from"} ${steps[at[name]].toFixed(2)}`;
      handle.setAttribute("aria-valuenow", steps[at[name]].toFixed(2));
      handle.classList.toggle("late", at[name] > last * 0.85);
    }
    [...columns.children].forEach((bar, step) => {
      bar.classList.toggle("sure", step >= at.high);
      bar.classList.toggle("gray", step >= at.low && step < at.high);
    });
    tell();
  };
  const move = (name, step) => {
    state.isMoved = true;
    at[name] = name === "low" ? Math.max(0, Math.min(step, at.high)) : Math.min(last, Math.max(step, at.low));
    draw();
  };
  let waiting = 0;
  const say = (soon) => {
    clearTimeout(waiting);
    waiting = setTimeout(() => setTriggerValue("move", { ...at, at: Date.now() }), soon ? 0 : 350);
  };
  const nearest = (event) => {
    const box = plot.getBoundingClientRect();
    const cosine = steps[0] + ((event.clientX - box.left) / box.width) * (steps[last] - steps[0]);
    let best = 0;
    steps.forEach((one, step) => { if (Math.abs(one - cosine) < Math.abs(steps[best] - cosine)) best = step; });
    return best;
  };
  for (const name of ["low", "high"]) {
    const handle = piece("div", `handle ${name}`);
    handle.tabIndex = 0;
    handle.setAttribute("role", "slider");
    handle.setAttribute("aria-label", name === "low" ? "Ask from this cosine on" : "Drop from this cosine on");
    handle.setAttribute("aria-valuemin", steps[0].toFixed(2));
    handle.setAttribute("aria-valuemax", "1.00");
    handle.append(piece("span", "label"), piece("span", "grip"));
    handle.onpointerdown = (event) => {
      event.preventDefault();
      handle.focus();
      handle.setPointerCapture(event.pointerId);
      state.isHeld = true;
      handle.onpointermove = (moved) => move(name, nearest(moved));
    };
    handle.onpointerup = handle.onpointercancel = () => {
      state.isHeld = false;
      if (handle.onpointermove) say(true);
      handle.onpointermove = null;
    };
    handle.onkeydown = (event) => {
      const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.key];
      const there = { Home: 0, End: last }[event.key] ?? (step && at[name] + step);
      if (there === undefined) return;
      event.preventDefault();
      event.stopPropagation();
      move(name, there);
      say(false);
    };
    handles[name] = handle;
    plot.append(handle);
  }
  root.replaceChildren(plot, ticks, told);
  draw();
}
