import { ask, byId, el, entropies, options, remarks, said, sent } from "./common.js";

const form = byId("ask");
const fields = form.elements;
let summaries = new Map();
let models = new Map();

function about() {
  const told = [fields.attack.value, fields.defence.value].filter(Boolean);
  byId("about").textContent = told.map((name) => `${name}: ${summaries.get(name)}`).join(" ");
}

async function begin() {
  const found = await ask("/api/playground");
  models = new Map(found.models.map((model) => [model.name, model.summary]));
  summaries = new Map([...found.attacks, ...found.defences].map((one) => [one.name, one.summary]));
  const named = found.models.map((model) => ({ name: model.name, label: model.summary }));
  options(fields.first, named);
  fields.second.append(el("option", { value: "" }, "none"));
  options(fields.second, named, named.length > 1 ? named[1].name : "");
  options(fields.attack, found.attacks, "direct");
  options(fields.defence, found.defences, "");
  fields.prompt.maxLength = found.longest_prompt;
  fields.tokens.max = found.most_tokens;
  byId("none").hidden = named.length > 0;
  for (const control of fields) control.disabled = !named.length;
  fields.prompt.value ||= decodeURIComponent(location.hash.slice(1));
  about();
}

function place(model, i) {
  const node = el("section", { class: `reply ${i ? "after" : "before"}`, "aria-label": `reply of ${model}` });
  node.append(el("h2", { class: "side" }, model), el("p", { class: "muted" }, "waiting"));
  byId("replies").append(node);
  return node;
}

async function say(model, node) {
  const body = { model, prompt: fields.prompt.value, attack: fields.attack.value };
  const rest = { defence: fields.defence.value, tokens: Number(fields.tokens.value) };
  const request = { method: "POST", headers: { "content-type": "application/json" } };
  try {
    return await ask("/api/playground", { ...request, body: JSON.stringify({ ...body, ...rest }) });
  } catch (error) {
    node.replaceChildren(node.firstChild, el("p", { class: "missing" }, error.message));
    return null;
  }
}

function fill(node, name, reply, top) {
  const inside = [said(reply, top, `reply of ${name}`), el("p", { class: "muted" }, remarks(reply))];
  node.replaceChildren(node.firstChild, ...inside, sent(reply));
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const chosen = [fields.first.value, fields.second.value].filter(Boolean);
  const button = form.querySelector("button");
  byId("replies").replaceChildren();
  button.disabled = true;
  byId("state").textContent = "The models are replying.";
  const places = chosen.map((model, i) => place(models.get(model), i));
  const replies = [];
  for (const [i, model] of chosen.entries()) {
    const reply = await say(model, places[i]);
    if (reply) replies.push([places[i], models.get(model), reply]);
    const top = entropies(replies.map((one) => one[2]));
    for (const [node, name, one] of replies) fill(node, name, one, top);
    byId("top").textContent = top.toFixed(2);
    byId("legend").hidden = !replies.length;
  }
  byId("state").textContent = `${replies.length} of ${chosen.length} replied.`;
  button.disabled = false;
});
fields.attack.addEventListener("change", about);
fields.defence.addEventListener("change", about);
begin().catch((error) => {
  byId("state").textContent = error.message;
});
