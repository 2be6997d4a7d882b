/**
 * The console's behaviour. Everything that comes from the cluster is put into the page as text,
 * never as markup. The question and the index are in the address, so a comparison can be shared.
 */

const byId = (id) => document.getElementById(id);
const form = byId("search");
const question = byId("question");
const index = byId("index");
const expansion = byId("expansion");

/** Terms shown before "all terms" is pressed, and under each hit. */
const SHOWN_TERMS = 24;
const SHOWN_MATCHES = 8;

/** The request that is under way; a newer one takes its place. */
let running;

/** Where documents stand in CSPLADE's ranking with all that the model adds, and of what question. */
let whole = { asked: "", ranks: new Map() };

/** An element with a class, text and children. */
function element(name, className = "", ...content) {
  const made = document.createElement(name);
  if (className !== "") made.className = className;
  made.append(...content);
  return made;
}

/** Asks in place of what is under way. */
function askGateway(path, body) {
  running?.abort();
  running = new AbortController();
  return ask(path, body, running.signal);
}

async function ask(path, body, signal) {
  const response = await fetch(path, {
    signal,
    ...(body === undefined
      ? {}
      : {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify(body),
        }),
  });
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  throw new Error(answer.error?.reason ?? answer.error?.message ?? `Status ${response.status}.`);
}

function showError(message) {
  const box = byId("error");
  box.hidden = message === undefined;
  box.textContent = message ?? "";
}

function say(message) {
  byId("status").textContent = message;
}

/** A term with the sign that tells an expansion without its colour. */
function termName({ term, literal }) {
  return literal ? term : `+${term}`;
}

function showTerms(terms, limit = SHOWN_TERMS) {
  const heaviest = terms[0]?.weight ?? 1;
  byId("term-rows").replaceChildren(
    ...terms.slice(0, limit).map((each) => {
      const row = element("tr", each.literal ? "literal" : "added");
      const name = element("th", "", termName(each));
      name.scope = "row";
      const bar = element("span", "bar");
      bar.style.setProperty("--share", String(each.weight / heaviest));
      bar.setAttribute("aria-hidden", "true");
      row.append(name, element("td", "", bar, each.weight.toFixed(2)));
      return row;
    }),
  );
  const more = byId("more-terms");
  more.hidden = terms.length <= limit;
  more.textContent = `All ${terms.length} terms`;
  more.onclick = () => {
    showTerms(terms, Infinity);
    byId("results").focus();
  };
  byId("terms").hidden = terms.length === 0;
}

function matchedTerms(hit) {
  const shown = hit.terms.slice(0, SHOWN_MATCHES).map((each) => {
    const item = element("span", each.literal ? "literal" : "added");
    item.append(element("b", "", termName(each)), ` ${each.contribution.toFixed(2)}`);
    return item;
  });
  const rest = hit.terms.length - shown.length;
  if (rest > 0) shown.push(element("span", "", `${rest} more`));
  return element("p", "matched", ...shown);
}

/** The words that a term came from, each once. */
function originWords({ origin = [] }) {
  return [...new Set(origin.map(({ text }) => text))];
}

function allTerms(hit) {
  return element(
    "dl",
    "all",
    ...hit.terms.map((each) => {
      const name = element("dt", "", element("b", "", termName(each)));
      const words = originWords(each);
      if (words.length > 0) {
        const from = element("span", "unseen", " from ");
        const arrow = element("span", "", " ← ");
        arrow.setAttribute("aria-hidden", "true");
        name.append(from, arrow, element("span", "from", words.join(", ")));
      }
      const row = element("div", each.literal ? "literal" : "added");
      row.append(name, element("dd", "", each.contribution.toFixed(3)));
      return row;
    }),
  );
}

/** A text in pieces: the words behind its literal terms marked, and those that added terms came from. */
function marked(text, spans, origins = []) {
  const edges = new Set([0, text.length]);
  for (const { start, end } of [...spans, ...origins]) edges.add(start).add(end);
  const places = [...edges].sort((a, b) => a - b);
  return places.slice(0, -1).map((start, i) => {
    const end = places[i + 1];
    const within = (span) => span.start <= start && span.end >= end;
    const piece = text.slice(start, end);
    const origin = origins.find(within);
    const stands = spans.some(within);
    if (origin === undefined) return stands ? element("mark", "", piece) : piece;
    const mark = element("mark", stands ? "origin stands" : "origin", piece);
    mark.title = `The model added ${origin.terms.join(", ")}`;
    return mark;
  });
}

/** A button that asks where a hit's added terms came from, and shows it. */
function originButton(hit, asked, details) {
  const button = element("button", "trace", "Which words do the added terms come from?");
  button.type = "button";
  button.addEventListener("click", () => void trace());
  async function trace() {
    button.disabled = true;
    button.textContent = "Encoding the text without each of its words…";
    try {
      const found = await ask("origin", { ...asked, id: hit.id, hit_index: hit.index });
      const { title, text } = found.marks;
      details.querySelector(".title").replaceChildren(...marked(hit.title, [], title));
      details.querySelector(".text")?.replaceChildren(...marked(hit.text, hit.spans, text));
      details.querySelector(".all").replaceWith(allTerms(found));
      const none = found.terms.every(({ origin }) => origin === undefined);
      const note = none
        ? "No single word of the text makes the added terms lighter."
        : "Marked words made the model add terms.";
      button.replaceWith(element("p", "note", note));
    } catch (thrown) {
      button.disabled = false;
      button.textContent = `${thrown.message} Ask again?`;
    }
  }
  return button;
}

function keyOf(hit) {
  return `${hit.index} ${hit.id}`;
}

/** How a hit has moved against the ranking with all that the model adds; nothing without one. */
function moved(hit, i, before) {
  if (before === undefined) return [];
  const rank = before.get(keyOf(hit));
  if (rank === i + 1) return [];
  const sign = rank === undefined || rank > i + 1 ? "▲" : "▼";
  const was = rank === undefined ? "not among the first" : `number ${rank}`;
  const change = element("b", "", sign);
  change.setAttribute("aria-hidden", "true");
  const name = sign === "▲" ? "moved up" : "moved down";
  return [" · ", element("span", name, change, ` ${was} with all added terms`)];
}

function showHits(name, other, ranks, before, asked) {
  const list = byId(name.id);
  const items = name.hits.map((hit, i) => {
    const rank = ranks.get(keyOf(hit));
    const elsewhere =
      rank === undefined ? `not among ${other}'s first` : `number ${rank} in ${other}`;
    const summary = element("summary");
    summary.append(
      element("span", "rank", `${i + 1}.`),
      element("span", "title", hit.title),
      element("span", "score", hit.score.toFixed(3)),
      ...(hit.text === "" ? [] : [element("p", "text", ...marked(hit.text, hit.spans))]),
      matchedTerms(hit),
      element("p", "elsewhere", elsewhere, ...moved(hit, i, before)),
    );
    const details = element("details");
    details.dataset.key = keyOf(hit);
    details.append(summary, allTerms(hit));
    if (asked !== undefined && hit.terms.some(({ literal }) => !literal)) {
      details.append(originButton(hit, asked, details));
    }
    details.addEventListener("focusin", () => markSame(details.dataset.key));
    details.addEventListener("mouseenter", () => markSame(details.dataset.key));
    return element("li", "", details);
  });
  if (items.length === 0) items.push(element("li", "empty", "No document matches."));
  list.replaceChildren(...items);
  byId(`${name.id}-count`).textContent = `${name.total} documents · ${name.took_ms} ms`;
}

/** Shows where the same document stands in both rankings. */
function markSame(key) {
  for (const each of document.querySelectorAll("details")) {
    each.classList.toggle("same", each.dataset.key === key);
  }
}

function ranksOf({ hits }) {
  return new Map(hits.map((hit, i) => [keyOf(hit), i + 1]));
}

/** A factor as people read it. */
function factorName(factor) {
  return factor === 1 ? "all" : factor === 0 ? "none" : `${Math.round(factor * 100)} %`;
}

/** The ranking with all that the model adds, asked for once a question. */
async function wholeRanks({ question, index }) {
  const asked = JSON.stringify([question, index]);
  if (whole.asked !== asked) {
    const { csplade } = await askGateway("compare", { question, index, expansion: 1 });
    whole = { asked, ranks: ranksOf(csplade) };
  }
  return whole.ranks;
}

async function search() {
  const factor = Number(expansion.value);
  byId("expansion-shown").textContent = factorName(factor);
  const asked = { question: question.value, index: index.value, expansion: factor };
  if (asked.question.trim() === "" || asked.index === "") {
    say(asked.index === "" ? "" : "Type a question.");
    return;
  }
  const shared = new URLSearchParams({ question: asked.question, index: asked.index });
  if (factor !== 1) shared.set("expansion", String(factor));
  history.replaceState(null, "", `?${shared}`);
  showError(undefined);
  say("Searching…");
  document.body.setAttribute("aria-busy", "true");
  try {
    const before = factor === 1 ? undefined : await wholeRanks(asked);
    const answer = await askGateway("compare", asked);
    const { bm25, csplade } = answer;
    if (factor === 1) {
      whole = { asked: JSON.stringify([asked.question, asked.index]), ranks: ranksOf(csplade) };
    }
    showTerms(answer.terms);
    showHits({ ...bm25, id: "bm25" }, "CSPLADE", ranksOf(csplade));
    showHits({ ...csplade, id: "csplade" }, "BM25", ranksOf(bm25), before, asked);
    byId("results").hidden = false;
    const notes = [
      ...(answer.truncated ? ["The question is longer than the model reads."] : []),
      ...csplade.notes,
    ];
    say(
      `${bm25.hits.length} hits by BM25, ${csplade.hits.length} by CSPLADE. ${notes.join(" ")}`.trim(),
    );
  } catch (thrown) {
    if (thrown.name === "AbortError") return;
    byId("results").hidden = true;
    byId("terms").hidden = true;
    say("");
    showError(thrown.message);
  }
  document.body.removeAttribute("aria-busy");
}

/** Moves the focus between hits: up and down in a ranking, left and right between them. */
function moveFocus(key) {
  const lists = [byId("bm25"), byId("csplade")].map((list) => [
    ...list.querySelectorAll("summary"),
  ]);
  const column = lists.findIndex((list) => list.includes(document.activeElement));
  if (column < 0) {
    if (key !== "ArrowDown" || document.activeElement !== question) return false;
    lists[1][0]?.focus();
    return lists[1].length > 0;
  }
  const row = lists[column].indexOf(document.activeElement);
  if (key === "ArrowUp" && row === 0) {
    question.focus();
    return true;
  }
  const next = {
    ArrowUp: () => lists[column][row - 1],
    ArrowDown: () => lists[column][row + 1],
    ArrowLeft: () => lists[0][Math.min(row, lists[0].length - 1)],
    ArrowRight: () => lists[1][Math.min(row, lists[1].length - 1)],
  }[key]?.();
  next?.focus();
  return next !== undefined;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  void search();
});
index.addEventListener("change", () => void search());
expansion.addEventListener("input", () => {
  byId("expansion-shown").textContent = factorName(Number(expansion.value));
});
expansion.addEventListener("change", () => void search());
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = ["INPUT", "SELECT"].includes(document.activeElement?.tagName);
  if (event.key === "/" && !typing) {
    event.preventDefault();
    question.select();
    question.focus();
  } else if (
    event.key.startsWith("Arrow") &&
    ![index, expansion].includes(document.activeElement)
  ) {
    if (moveFocus(event.key)) event.preventDefault();
  }
});

const wanted = new URLSearchParams(location.search);
try {
  const { model, indices, expansion: usual } = await askGateway("indices");
  byId("model").textContent = model;
  index.replaceChildren(...indices.map((name) => new Option(name, name)));
  if (indices.length === 0)
    showError("No index holds vectors of this model; csplade ingest fills one.");
  if (indices.includes(wanted.get("index"))) index.value = wanted.get("index");
  question.value = wanted.get("question") ?? "";
  expansion.value = wanted.get("expansion") ?? usual;
  byId("expansion-shown").textContent = factorName(Number(expansion.value));
  question.focus();
  if (question.value !== "") await search();
} catch (thrown) {
  showError(thrown.message);
}
