import { ago, ask, byId, el, entropies, far, follow, judged, options, remarks, said, sent, setProgress, tellLost } from "./common.js";

const id = location.pathname.split("/").pop();
const filter = byId("filter");
const parser = new DOMParser();
const figures = new Map(); // title -> its figure and what it shows
let page = 1;
let last = null;
let asking = 0;

function tell(run) {
  last = run;
  document.title = `${run.name} · sirl`;
  byId("group").textContent = run.group;
  byId("name").textContent = run.name;
  byId("kind").textContent = run.kind;
  byId("model").textContent = run.model;
  byId("seed").textContent = run.seed && `seed ${run.seed}`;
  byId("far").textContent = [far(run), run.state, run.written && `last written ${ago(run.written)}`].filter(Boolean).join(" · ");
  byId("latest").textContent = run.latest;
  byId("error").hidden = !run.error;
  byId("error").textContent = run.error;
  setProgress(byId("bar"), run);
  byId("report").href = `/report?run=${id}`;
}

// The drawings are made by the server, which escapes all that is in them; a script in one would not run.
function draw(drawing) {
  let figure = figures.get(drawing.title);
  if (!figure) {
    const told = el("span", { class: "ends" });
    const caption = el("figcaption", {}, el("h3", {}, drawing.title, told), el("p", {}, drawing.meaning));
    figure = { node: el("figure", {}, caption), told, svg: "" };
    figures.set(drawing.title, figure);
    byId("drawings").append(figure.node);
  }
  if (figure.svg === drawing.svg) return;
  figure.svg = drawing.svg;
  figure.told.textContent = drawing.told;
  const made = parser.parseFromString(drawing.svg, "text/html").querySelector("svg");
  figure.node.querySelector("svg")?.remove();
  if (made) figure.node.append(document.adoptNode(made));
}

function show(live) {
  const before = last;
  tell(live.run);
  byId("curves").hidden = !live.drawings.length;
  live.drawings.forEach(draw);
  const holds = live.run.kind !== "train" && live.run.kind !== "";
  if (holds && (byId("transcripts").hidden || (before && before.done === 0 && live.run.done > 0))) {
    byId("transcripts").hidden = false;
    load();
  }
}

function transcript(row, top, number) {
  const draw = row.sample ? ` · draw ${row.sample}` : "";
  const reply = said(row.reply, top, `reply ${number}`);
  return el(
    "tr",
    { role: "row" },
    el(
      "th",
      { scope: "row", role: "rowheader" },
      el("p", { class: "eyebrow" }, `${row.kind} · `, el("code", {}, row.attack), draw),
      el("div", { class: "request", tabindex: "0", role: "group", "aria-label": `request ${number}` }, el("bdi", {}, row.prompt)),
      sent(row.reply),
      el("p", {}, el("a", { href: `/playground#${encodeURIComponent(row.prompt)}` }, "Ask in the playground")),
    ),
    el("td", { role: "cell" }, row.folded ? el("details", {}, el("summary", {}, "Show the reply"), reply) : reply),
    el(
      "td",
      { role: "cell" },
      el("p", { class: `outcome ${row.outcome}` }, row.outcome),
      el("p", { class: "muted" }, remarks(row.reply)),
      row.verdicts.length ? judged(row.verdicts) : "",
    ),
  );
}

function choose(name, values) {
  const select = filter.elements[name];
  const had = select.value;
  if (select.options.length !== values.length + 1) {
    options(select, values.map((value) => ({ name: value })), had);
    if (select.value !== had) select.value = "";
  }
}

async function load() {
  const mine = ++asking;
  const asked = new URLSearchParams(new FormData(filter));
  asked.set("page", page);
  let found;
  try {
    found = await ask(`/api/runs/${id}/transcripts?${asked}`);
  } catch (error) {
    if (mine === asking) byId("found").textContent = error.message;
    return;
  }
  if (mine !== asking) return;
  page = found.page;
  const top = entropies(found.rows.map((row) => row.reply));
  byId("top").textContent = top.toFixed(2);
  byId("notice").textContent = found.notice;
  const size = Number(asked.get("size"));
  const first = (page - 1) * size;
  byId("rows").replaceChildren(...found.rows.map((row, i) => transcript(row, top, first + i + 1)));
  const range = found.rows.length ? `${first + 1}–${first + found.rows.length} of ` : "";
  const part = found.complete ? "" : `; ${Math.floor(found.read * 100)} % of the run has been looked through`;
  byId("found").textContent = `${range}${found.matching} ${found.matching === 1 ? "reply" : "replies"}${part}.`;
  byId("place").textContent = `Page ${page} of ${found.pages}`;
  byId("previous").disabled = page <= 1;
  byId("next").disabled = page >= found.pages;
  byId("unread").hidden = !found.error;
  byId("unread").textContent = found.error;
  for (const name of ["attack", "kind", "outcome"]) choose(name, found.choices[name]);
  if (!found.complete) setTimeout(() => mine === asking && load(), 300);
}

function turn(by) {
  page += by;
  load().then(() => byId("transcripts-title").scrollIntoView());
}

filter.addEventListener("submit", (event) => {
  event.preventDefault();
  page = 1;
  load();
});
byId("previous").addEventListener("click", () => turn(-1));
byId("next").addEventListener("click", () => turn(1));
setInterval(() => last && tell(last), 5000);
ask(`/api/runs/${id}`).then(tell).catch((error) => tellLost(error.message));
follow(`/api/runs/${id}/events`, show, tellLost);
