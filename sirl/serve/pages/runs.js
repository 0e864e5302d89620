import { ago, byId, el, far, follow, setProgress, tellLost } from "./common.js";

const cards = new Map(); // id -> what changes of a card
const sections = new Map(); // group -> its list
let shown = [];

function card(run) {
  const box = el("input", { type: "checkbox", name: "run", value: run.id, "aria-label": `report of ${run.name}` });
  const parts = {
    state: el("span"),
    far: el("p", { class: "far" }),
    bar: el("progress", { "aria-label": `progress of ${run.name}` }),
    latest: el("p", { class: "muted" }),
    what: el("p", { class: "muted" }),
    box,
  };
  const link = el("a", { href: `/runs/${run.id}` }, run.name);
  const body = el(
    "div",
    { class: "body" },
    el("div", {}, el("h3", {}, link), parts.what),
    el("div", {}, parts.bar, parts.far),
    el("div", {}, el("p", {}, parts.state), parts.latest),
  );
  parts.item = el("li", {}, box, body);
  return parts;
}

function update(parts, run) {
  parts.what.textContent = run.error || [run.kind, run.model, run.seed && `seed ${run.seed}`].filter(Boolean).join(" · ");
  parts.state.className = `state ${run.state.replace(" ", "-")}`;
  parts.state.textContent = run.state;
  parts.far.textContent = far(run);
  parts.bar.hidden = run.state === "damaged";
  parts.box.disabled = run.state === "damaged";
  setProgress(parts.bar, run);
  parts.latest.textContent = [run.latest, run.written && `last written ${ago(run.written)}`].filter(Boolean).join(" · ");
}

function section(name) {
  const list = el("ul", { class: "runs" });
  byId("groups").append(el("h2", { class: "group" }, name), list);
  return list;
}

function show(runs) {
  shown = runs;
  const seen = new Set(runs.map((run) => run.id));
  for (const [id, parts] of cards) {
    if (!seen.has(id)) {
      parts.item.remove();
      cards.delete(id);
    }
  }
  for (const run of runs) {
    if (!sections.has(run.group)) sections.set(run.group, section(run.group));
    if (!cards.has(run.id)) {
      cards.set(run.id, card(run));
      sections.get(run.group).append(cards.get(run.id).item);
    }
    update(cards.get(run.id), run);
  }
  const open = runs.filter((run) => run.state === "not finished").length;
  const told = runs.length ? `${runs.length} ${runs.length === 1 ? "run" : "runs"}, ${open} not finished.` : "No run yet.";
  if (byId("state").textContent !== told) byId("state").textContent = told;
  byId("choose").hidden = !runs.length;
}

byId("report").addEventListener("submit", (event) => {
  const chosen = new FormData(event.target).getAll("run");
  byId("why").textContent = chosen.length ? "" : "Choose at least one run first.";
  if (!chosen.length) event.preventDefault();
});
setInterval(() => shown.forEach((run) => cards.has(run.id) && update(cards.get(run.id), run)), 5000);
follow("/api/events", show, tellLost);
