// What all pages share. Whatever comes from a run is put on a page as text, never as HTML.

export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== undefined && child !== ""));
  return node;
}

export function byId(id) {
  return document.getElementById(id);
}

export async function ask(path, options = {}) {
  const response = await fetch(path, { ...options, cache: "no-store" });
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(body.detail || `the server said ${response.status}`);
  return body;
}

export function ago(seconds) {
  if (!seconds) return "";
  const past = Math.max(0, Date.now() / 1000 - seconds);
  if (past < 90) return `${Math.round(past)} s ago`;
  if (past < 5400) return `${Math.round(past / 60)} min ago`;
  if (past < 129600) return `${Math.round(past / 3600)} h ago`;
  return new Date(seconds * 1000).toISOString().slice(0, 10);
}

export function far(run) {
  if (run.state === "damaged") return "";
  const all = run.total ? ` of ${run.total}` : "";
  return `${run.done}${all} ${run.unit}`;
}

export function setProgress(bar, run) {
  const known = run.total > 0 || run.state === "finished";
  if (known) {
    bar.max = run.state === "finished" ? 1 : run.total;
    bar.value = run.state === "finished" ? 1 : Math.min(run.done, run.total);
  } else if (bar.hasAttribute("value")) {
    bar.removeAttribute("value");
  }
}

// A stream that rests while the page is out of sight: a browser opens but six at once to one host.
export function follow(path, show, lost) {
  let source = null;
  let over = false;
  function open() {
    if (over || source || document.hidden) return;
    source = new EventSource(path);
    source.onmessage = (event) => {
      lost(false);
      show(JSON.parse(event.data));
    };
    source.addEventListener("end", (event) => {
      over = true;
      close();
      if (event.data !== "finished") lost(event.data);
    });
    source.onerror = () => {
      lost(true);
      if (source && source.readyState === EventSource.CLOSED) {
        close();
        setTimeout(open, 3000);
      }
    };
  }
  function close() {
    if (source) source.close();
    source = null;
  }
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", open);
  open();
}

const silence = "The server does not answer; this page shows what it last said.";

export function tellLost(reason) {
  const note = byId("lost");
  note.hidden = !reason;
  note.textContent = reason === true ? silence : reason || "";
}

export function entropies(replies) {
  const all = replies.flatMap((reply) => reply.tokens.map((token) => token[1]));
  return Math.max(0.5, ...all);
}

export function nats(value) {
  return value === null ? "not measured" : `${value.toFixed(3)} nats`;
}

// The reply, each token shaded by its entropy; `top` nats have the full shade.
export function said(reply, top, label) {
  const box = el("div", { class: "said", tabindex: "0", role: "group", "aria-label": label });
  if (reply.prefill) box.append(el("span", { class: "prefill", title: "begun by the attacker" }, reply.prefill));
  for (const [text, entropy] of reply.tokens) {
    const token = el("span", { class: "t", title: nats(entropy) }, text);
    token.style.setProperty("--e", Math.min(1, Math.max(0, entropy / top)).toFixed(2));
    box.append(token);
  }
  if (!reply.tokens.length && reply.text) box.append(reply.text);
  if (reply.left_out) box.append(el("span", { class: "muted" }, ` … ${reply.left_out} more tokens`));
  return box;
}

export function remarks(reply) {
  const told = [`mean entropy ${nats(reply.mean)}`];
  if (reply.blocked) told.push(reply.error || "blocked by the provider");
  else if (reply.error) told.push(`no reply: ${reply.error}`);
  else if (!reply.finished) told.push("cut off at the length limit");
  if (reply.defence) told.push(`behind a defence: ${reply.defence}`);
  return told.join(" · ");
}

function folded(summary) {
  return el("details", { class: "sent" }, el("summary", {}, summary));
}

export function sent(reply) {
  const details = folded(reply.defence ? "What was sent to the defence" : "What was sent");
  const block = (name, text) => details.append(el("p", { class: "role" }, name), el("pre", { tabindex: "0" }, text));
  for (const message of reply.messages) block(message.role, message.content);
  if (reply.prefill) block("beginning of the reply, written by the attacker", reply.prefill);
  return details;
}

export function judged(verdicts) {
  const details = folded("What the judges said");
  for (const verdict of verdicts) {
    const answer = verdict.answer === null ? "undecided" : verdict.answer ? "yes" : "no";
    details.append(el("p", { class: "role" }, `${verdict.question}? ${answer} `, el("code", {}, verdict.judge)));
    if (verdict.evidence) details.append(el("pre", { tabindex: "0" }, verdict.evidence));
  }
  return details;
}

export function options(select, names, chosen) {
  const first = select.querySelector("option[value='']");
  const made = names.map((one) => el("option", { value: one.name, title: one.summary }, one.label || one.name));
  select.replaceChildren(...(first ? [first] : []), ...made);
  if (chosen !== undefined) select.value = chosen;
}
