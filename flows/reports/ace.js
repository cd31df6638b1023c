// The page holds the first playbook and what each step did to it; the playbook after a step is made from those.
// What models wrote reaches the page through text nodes only, and the page's policy forbids the other ways.
(() => {
  const SHOWN = 20; // rows of a list before one has to ask for more
  const LONG = 280; // characters of a question; more is behind a click
  const DIFFED = 4e6; // pairs of words that are compared; a longer text is shown whole, old and new
  const TAGS = [
    [1, "helped"],
    [-1, "harmed"],
    [0, "was used in, neither good nor bad"],
  ];
  const SIGNS = { added: "+ added", changed: "~ changed", merged: "⇒ merged", removed: "− removed" };

  const run = json("run");
  const percent = (share) => `${(100 * share).toFixed(1)} %`;
  const net = (bullet) => bullet.helpful - bullet.harmful;
  const box = find("playbook");

  let place = -1; // how many steps were made
  let wanted = 0; // the place that the slider is at; drawn with the next frame
  let view = { sections: [], fates: new Map(), before: new Map() };
  let chosen = null; // id of a bullet

  // ------------------------------------------------------------------ elements

  const badge = (kind, said = SIGNS[kind]) => make("span", { class: `badge ${kind}` }, said);
  const row = (...children) => make("div", { class: "row" }, ...children);

  // A list that is as long as one asks for: there may be thousands of rows.
  function listed(items, draw) {
    const list = make("ul", { class: "items" });
    fillList(list, items, draw, 0);
    return list;
  }

  function fillList(list, items, draw, from) {
    list.append(...items.slice(from, from + SHOWN).map((item) => make("li", {}, ...draw(item))));
    const left = items.length - from - SHOWN;
    if (left <= 0) return;
    const more = make("li");
    const show = () => {
      more.remove();
      fillList(list, items, draw, from + SHOWN);
      list.children[from + SHOWN].querySelector("button, summary")?.focus({ preventScroll: true });
    };
    more.append(button({ class: "more" }, show, `… ${count(left)} more`));
    list.append(more);
  }

  // ------------------------------------------------------------------ the playbook after a step

  function startState() {
    const state = { sections: [], bullets: new Map() };
    for (const { name, bullets } of run.sections) {
      const section = { name, bullets: new Map() };
      state.sections.push(section);
      for (const [id, text, helpful, harmful, born] of bullets) {
        put(state, section, { id, text, helpful, harmful, born });
      }
    }
    return state;
  }

  function put(state, section, bullet) {
    bullet.section = section;
    section.bullets.set(bullet.id, bullet); // a map keeps the order in which they came, and new ones go last
    state.bullets.set(bullet.id, bullet);
  }

  function drop(state, id) {
    const bullet = state.bullets.get(id);
    bullet?.section.bullets.delete(id);
    state.bullets.delete(id);
    return bullet;
  }

  // A playbook that has no OTHERS gets one with the first bullet for it.
  function sectionOf(state, wanted) {
    const there = state.sections.find(({ name }) => name === wanted);
    if (there) return there;
    const made = { name: wanted, bullets: new Map() };
    state.sections.push(made);
    return made;
  }

  const OPERATIONS = {
    ADD(state, { id, text, section }, number) {
      const home = sectionOf(state, section ?? "");
      put(state, home, { id, text, helpful: 0, harmful: 0, born: number });
    },
    UPDATE(state, { id, text }) {
      if (state.bullets.has(id)) state.bullets.get(id).text = text;
    },
    MERGE(state, { id, text, replaced }) {
      const kept = state.bullets.get(id);
      for (const other of replaced.filter((one) => one !== id)) {
        const gone = drop(state, other);
        if (!gone) continue;
        kept.helpful += gone.helpful;
        kept.harmful += gone.harmful;
        kept.born = Math.min(kept.born, gone.born);
      }
      kept.text = text;
    },
    REMOVE(state, change) {
      for (const id of touched(change)) drop(state, id);
    },
  };

  const isApplied = (change) => change.refused === undefined;
  const touched = (change) => [...new Set([...(change.replaced ?? []), change.id])].filter((id) => id !== undefined);

  // Votes first, then changes, as the run did; `hear` is told of both before they take effect.
  function take(state, step, hear = {}) {
    for (const [id, tag, from] of step.votes) {
      const bullet = state.bullets.get(id);
      if (!bullet) continue;
      if (tag > 0) bullet.helpful += 1;
      if (tag < 0) bullet.harmful += 1;
      hear.vote?.(id, tag, from);
    }
    for (const change of step.changes) {
      hear.change?.(change, textsBefore(state, change));
      if (isApplied(change)) OPERATIONS[change.type]?.(state, change, step.number);
    }
  }

  const textsBefore = (state, change) => new Map(touched(change).map((id) => [id, state.bullets.get(id)?.text]));

  // The bullets of each section after `number` steps, with those that the last of these has removed still there.
  function look(number) {
    const state = startState();
    for (const step of run.steps.slice(0, Math.max(0, number - 1))) take(state, step);
    const before = new Map([...state.bullets].map(([id, bullet]) => [id, { ...bullet }]));
    const fates = new Map();
    const changes = [];
    if (number > 0) {
      const change = (one, texts) => {
        changes.push({ change: one, texts });
        if (isApplied(one)) decide(fates, one);
      };
      take(state, run.steps[number - 1], { change });
    }
    const sections = state.sections.map((section) => ({ name: section.name, bullets: shelf(section, before, state) }));
    return { sections, fates, before, changes, bullets: state.bullets };
  }

  // Bullets keep their order and new ones come last, so the old order and then the new ones is all of it.
  function shelf(section, before, state) {
    const old = [...before.values()].filter((bullet) => bullet.section === section);
    const fresh = [...section.bullets.values()].filter((bullet) => !before.has(bullet.id));
    return [...old.map((bullet) => state.bullets.get(bullet.id) ?? bullet), ...fresh];
  }

  function decide(fates, change) {
    const { type, id, by } = change;
    if (type === "ADD") fates.set(id, { kind: "added", note: "" });
    if (type === "UPDATE" && fates.get(id)?.kind !== "added") fates.set(id, { kind: "changed", note: "" });
    if (type === "REMOVE") for (const one of touched(change)) fates.set(one, { kind: "removed", note: byWhom(by) });
    if (type !== "MERGE") return;
    const gone = touched(change).filter((one) => one !== id);
    for (const one of gone) fates.set(one, { kind: "removed", note: `merged into ${id}` });
    fates.set(id, { kind: "merged", note: `with ${gone.join(", ")}` });
  }

  const RULES = { duplicate: "as a duplicate", harmful: "for its harm", budget: "for the budget" };
  const byWhom = (by) => RULES[by] ?? `by ${by}`;

  // ------------------------------------------------------------------ the list of bullets

  const cells = new Map(); // elements by id: most of them stay as they are from step to step

  const ORDERS = {
    best: (a, b) => net(b) - net(a),
    worst: (a, b) => net(a) - net(b),
    voted: (a, b) => b.helpful + b.harmful - a.helpful - a.harmful,
    young: (a, b) => b.born - a.born,
  };

  function drawList() {
    const words = find("search").value.toLowerCase();
    const order = find("sort").value;
    const onlyChanged = find("changed").checked;
    const fits = ({ id, text }) =>
      (!onlyChanged || view.fates.has(id)) && (!words || `[${id}] ${text}`.toLowerCase().includes(words));
    const sections = view.sections.map(({ name, bullets }) => ({ name, all: bullets, bullets: bullets.filter(fits) }));
    const found = sections.flatMap(({ bullets }) => bullets);
    if (order === "order") {
      const some = sections.filter(({ bullets }) => bullets.length);
      box.replaceChildren(...some.flatMap(({ name, all, bullets }) => [heading(name, all), cellList(bullets, false)]));
    } else {
      box.replaceChildren(cellList([...found].sort(ORDERS[order]), true));
    }
    const all = view.bullets.size;
    const live = found.filter(({ id }) => view.bullets.has(id)).length;
    if (!found.length) {
      const empty = onlyChanged ? "This step changed no bullet." : "The playbook is empty.";
      box.replaceChildren(faint(words ? "No bullet has that." : empty));
    }
    find("matching").textContent = live < all ? `${count(live)} of ${plural(all, "bullet")}` : plural(all, "bullet");
    markChosen();
  }

  function heading(name, bullets) {
    const size = bullets.filter(({ id }) => view.bullets.has(id)).length;
    return make("h3", {}, make("bdi", {}, name || "(no section)"), " ", make("small", {}, count(size)));
  }

  const cellList = (bullets, flat) => make("ol", {}, ...bullets.map((bullet) => cell(bullet, flat)));

  function cell(bullet, flat) {
    const { id, text, helpful, harmful, section } = bullet;
    const fate = view.fates.get(id);
    const old = view.before.get(id) ?? { helpful: 0, harmful: 0 };
    const gone = !view.bullets.has(id);
    const more = gone ? [0, 0] : [helpful - old.helpful, harmful - old.harmful];
    const key = JSON.stringify([text, helpful, harmful, more, fate, flat]);
    let known = cells.get(id);
    if (!known) {
      const element = button({ class: "bullet", "data-id": id, tabindex: "-1" }, () => choose(id, { go: true }));
      known = { item: make("li", {}, element), element, key: "" };
      cells.set(id, known);
    }
    if (known.key === key) return known.item;
    known.key = key;
    const head = make("span", { class: "head" });
    if (fate) head.append(badge(fate.kind));
    head.append(make("bdi", { class: "id" }, id), votes("up", "helpful", helpful, more[0]), votes("down", "harmful", harmful, more[1]));
    if (fate?.note) head.append(make("bdi", {}, fate.note));
    if (flat) head.append(make("bdi", {}, section.name));
    known.element.className = `bullet ${fate?.kind ?? ""}`;
    known.element.replaceChildren(head, make("span", { class: "text", dir: "auto" }, text));
    return known.item;
  }

  // "helpful 5 (+2)": the counter after the step, and what the step added to it, by vote or by merge.
  function votes(look, name, number, more) {
    const element = make("span", { class: number ? look : "" }, `${name} ${count(number)}`);
    if (more) element.append(make("span", { class: "now" }, ` (+${count(more)})`));
    return element;
  }

  // One stop of the tab key for the whole list; the arrow keys move in it.
  function markChosen() {
    const all = [...box.querySelectorAll(".bullet")];
    for (const element of all) {
      const here = element.dataset.id === chosen;
      if (here) element.setAttribute("aria-current", "true");
      else element.removeAttribute("aria-current");
      element.tabIndex = here ? 0 : -1;
    }
    if (all.length && !all.some((element) => element.tabIndex === 0)) all[0].tabIndex = 0;
  }

  function moveInList(event) {
    const all = [...box.querySelectorAll(".bullet")];
    const here = all.indexOf(document.activeElement);
    const there = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: all.length - 1 }[event.key];
    if (there === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    all[there]?.focus();
  }

  // ------------------------------------------------------------------ differences of texts

  // [[kind, text]]: "same", "gone" or "new", by words.
  function difference(old, now) {
    const [a, b] = [words(old), words(now)];
    let start = 0;
    while (start < a.length && start < b.length && a[start] === b[start]) start += 1;
    let end = 0;
    while (end < a.length - start && end < b.length - start && a.at(-1 - end) === b.at(-1 - end)) end += 1;
    const middle = compare(a.slice(start, a.length - end), b.slice(start, b.length - end));
    const same = (list) => list.map((text) => ["same", text]);
    return joined([...same(a.slice(0, start)), ...middle, ...same(a.slice(a.length - end))]);
  }

  const words = (text) => text.match(/\s+|[\p{L}\p{M}\p{N}_]+|./gsu) ?? [];

  // The longest common subsequence, by a table of the lengths of those of what follows.
  function compare(a, b) {
    if (a.length * b.length > DIFFED) return [["gone", a.join("")], ["new", b.join("")]];
    const width = b.length + 1;
    const longest = new Uint16Array((a.length + 1) * width);
    for (let i = a.length - 1; i >= 0; i -= 1) {
      for (let j = b.length - 1; j >= 0; j -= 1) {
        longest[i * width + j] =
          a[i] === b[j]
            ? longest[(i + 1) * width + j + 1] + 1
            : Math.max(longest[(i + 1) * width + j], longest[i * width + j + 1]);
      }
    }
    const found = [];
    let [i, j] = [0, 0];
    while (i < a.length && j < b.length) {
      if (a[i] === b[j]) found.push(["same", a[(j += 1, i++)]]);
      else if (longest[(i + 1) * width + j] >= longest[i * width + j + 1]) found.push(["gone", a[i++]]);
      else found.push(["new", b[j++]]);
    }
    return [...found, ...a.slice(i).map((text) => ["gone", text]), ...b.slice(j).map((text) => ["new", text])];
  }

  function joined(parts) {
    const found = [];
    for (const [kind, text] of parts) {
      if (found.at(-1)?.[0] === kind) found.at(-1)[1] += text;
      else if (text) found.push([kind, text]);
    }
    return found;
  }

  const ELEMENTS = { gone: "del", new: "ins" };
  const marked = (kind, text) => (kind === "same" ? text : make(ELEMENTS[kind], {}, text));
  const diff = (old, now) => verbatim(...difference(old, now).map(([kind, text]) => marked(kind, text)));

  // ------------------------------------------------------------------ a change, shown

  function card(change, texts, ...first) {
    const { type, id, text = "", section, refused, by } = change;
    const head = row(...first, make("b", {}, type));
    if (id !== undefined) head.append(idLink(id));
    if (section) head.append(make("bdi", { class: "faint" }, section));
    if (by !== "curator") head.append(make("bdi", { class: "faint" }, byWhom(by)));
    const element = make("div", { class: refused === undefined ? "card" : "card refused" }, head);
    if (refused !== undefined) element.append(make("p", { class: "why", dir: "auto" }, refused));
    element.append(...body(change, texts, text));
    return element;
  }

  function body(change, texts, text) {
    const { type, id, refused } = change;
    const old = texts.get(id);
    if (refused !== undefined) return text ? [old === undefined ? verbatim(text) : diff(old, text)] : [];
    if (type === "ADD") return [verbatim(marked("new", text))];
    const gone = touched(change).filter((one) => type === "REMOVE" || one !== id);
    const lines = gone.map((one) => verbatim(idLink(one), " ", marked("gone", texts.get(one) ?? "")));
    return type === "REMOVE" ? lines : [...lines, old === undefined ? verbatim(text) : diff(old, text)];
  }

  // A bullet that never came to be has no history to go to.
  function idLink(id) {
    const label = make("bdi", { class: "id" }, id);
    return histories.has(id) ? button({ class: "link", "data-bullet": id }, () => choose(id, { go: true }), label) : label;
  }

  const stepLink = (number, said = `step ${numberOf(number)}`) =>
    button({ class: "link", "data-step": number }, () => goTo(number), said);
  const numberOf = (number) => count(number ? run.steps[number - 1].number : 0);

  // ------------------------------------------------------------------ the panel of a step

  function drawStep() {
    find("step-heading").textContent = place ? `Step ${numberOf(place)}` : "Before the first step";
    const step = run.steps[place - 1];
    const evaluations = evaluationsAt(step?.number ?? 0);
    if (!step) {
      find("step").replaceChildren(...evaluations, faint(`The playbook that the run began with: ${plural(view.bullets.size, "bullet")}.`));
      return;
    }
    const applied = view.changes.filter(({ change }) => isApplied(change));
    const refused = view.changes.filter(({ change }) => !isApplied(change));
    find("step").replaceChildren(
      make("p", {}, told(step)),
      ...evaluations,
      make("h4", {}, `Applied changes (${count(applied.length)})`),
      applied.length ? listed(applied, drawChange) : faint("none"),
      make("h4", {}, `Refused changes (${count(refused.length)})`),
      refused.length ? listed(refused, drawChange) : faint("none"),
      make("h4", {}, `Rows (${count(step.rows.length)})`),
      step.rows.length ? listed(step.rows, (from) => stepRow(step, from)) : faint("none"),
    );
  }

  const drawChange = ({ change, texts }) => [card(change, texts)];

  function told({ rows, first, last, tokens }) {
    const size = rows.length;
    return `${count(first)} of ${plural(size, "row")} right at first, ${count(last)} in the end; ${plural(tokens, "token")} after it.`;
  }

  function evaluationsAt(number) {
    const here = run.evaluations.filter(([step]) => step === number);
    return here.map(([, split, name, right, total, low, high]) => {
      const share = total ? `: ${percent(right / total)} (${percent(low)} to ${percent(high)})` : "";
      const more = name === split ? [] : [" ", make("bdi", {}, name)];
      return make("p", {}, make("b", {}, split), ...more, `${share}, ${count(right)} of ${count(total)} right`);
    });
  }

  function stepRow(step, from) {
    const said = [question(from)];
    for (const [tag, verb] of TAGS) {
      const ids = new Set(step.votes.filter((vote) => vote[2] === from && vote[1] === tag).map(([id]) => id));
      if (!ids.size) continue;
      const links = [...ids].flatMap((id) => [" ", idLink(id)]);
      said.push(make("div", { class: "small faint" }, { 1: "helped by", "-1": "harmed by", 0: "neutral:" }[tag], ...links));
    }
    return said;
  }

  function question(from) {
    const [id, text] = run.rows[from];
    const name = make("bdi", { class: "id faint" }, id);
    if (!text) return make("div", {}, name);
    if (text.length <= LONG) return make("div", {}, name, verbatim(text));
    const cut = /[\ud800-\udbff]/.test(text[LONG - 1]) ? LONG - 1 : LONG; // not between the halves of a character
    const summary = make("summary", {}, name, " ", make("bdi", {}, `${text.slice(0, cut)}…`));
    return make("details", {}, summary, verbatim(text));
  }

  // ------------------------------------------------------------------ the history of a bullet

  const histories = readHistories(); // {id: { start: text or undefined, events, votes }}

  function readHistories() {
    const found = new Map();
    const state = startState();
    const of = (id) => found.get(id) ?? found.set(id, { events: [], votes: [] }).get(id);
    for (const { id, text } of state.bullets.values()) of(id).start = text;
    run.steps.forEach((step, index) => {
      const number = index + 1;
      const vote = (id, tag, from) => of(id).votes.push({ number, tag, from });
      const change = (one, texts) => {
        for (const id of touched(one)) {
          // A refused change may name anything; it belongs to the history of what was ever there.
          if (isApplied(one) || found.has(id)) of(id).events.push({ number, change: one, texts });
        }
      };
      take(state, step, { vote, change });
    });
    return found;
  }

  function drawBullet() {
    const history = histories.get(chosen);
    if (!history) {
      find("bullet").replaceChildren(faint("Choose one to see each text that it had, and the rows that it helped or harmed."));
      return;
    }
    const bullet = view.bullets.get(chosen);
    const parts = [row(make("bdi", { class: "id" }, chosen), ...now(bullet))];
    if (bullet) parts.push(verbatim(bullet.text));
    parts.push(make("h4", {}, "History"), listed(entries(history), (one) => one));
    const votes = allVotes(chosen);
    for (const [tag, verb] of TAGS) {
      const mine = votes.filter((vote) => vote.tag === tag);
      if (mine.length || tag) parts.push(make("h4", {}, `Rows that it ${verb} (${count(mine.length)})`));
      if (mine.length) parts.push(listed(byRow(mine), voteRow));
      else if (tag) parts.push(faint("none"));
    }
    find("bullet").replaceChildren(...parts);
  }

  function now(bullet) {
    if (!bullet) return [make("span", { class: "faint" }, "is not in the playbook after this step")];
    const bits = [votes("up", "helpful", bullet.helpful, 0), votes("down", "harmful", bullet.harmful, 0)];
    return [...bits, make("bdi", { class: "faint" }, bullet.section.name)];
  }

  function entries({ start, events }) {
    const first = start === undefined ? [] : [[row(stepLink(0, "at the start")), verbatim(start)]];
    return [...first, ...events.map(({ number, change, texts }) => [card(change, texts, stepLink(number))])];
  }

  // Those that it took over from bullets that were merged into it are its own, too: counters are added up.
  function allVotes(id, before = Infinity) {
    const { votes, events } = histories.get(id);
    const own = votes.filter(({ number }) => number <= before).map((vote) => ({ ...vote, as: id }));
    const merges = events.filter(({ number, change }) => isApplied(change) && change.type === "MERGE" && change.id === id && number <= before);
    const others = merges.flatMap(({ number, change }) =>
      touched(change).filter((one) => one !== id).flatMap((one) => allVotes(one, number)),
    );
    return [...own, ...others].sort((a, b) => a.number - b.number);
  }

  function byRow(votes) {
    const rows = new Map();
    for (const vote of votes) {
      if (!rows.has(vote.from)) rows.set(vote.from, []);
      rows.get(vote.from).push(vote);
    }
    return [...rows];
  }

  function voteRow([from, votes]) {
    const steps = votes.slice(0, SHOWN).flatMap(({ number, as }) => [" ", stepLink(number), ...(as === chosen ? [] : [" as ", idLink(as)])]);
    return [question(from), make("div", { class: "small faint" }, "in", ...steps)];
  }

  // ------------------------------------------------------------------ refused changes

  function drawRefused() {
    const all = [];
    const state = startState();
    run.steps.forEach((step, index) => {
      const change = (one, texts) => isApplied(one) || all.push({ number: index + 1, change: one, texts });
      take(state, step, { change });
    });
    if (!all.length) return;
    const groups = new Map();
    for (const one of all) {
      const kind = kindOf(one.change.refused);
      if (!groups.has(kind)) groups.set(kind, []);
      groups.get(kind).push(one);
    }
    const sorted = [...groups].sort((a, b) => b[1].length - a[1].length);
    const were = all.length === 1 ? "was" : "were";
    find("refused").append(faint(`${plural(all.length, "change")} ${were} refused, each by itself; the others of their steps were made.`));
    find("refused").append(...sorted.map(([kind, mine]) => refusedGroup(kind, mine, all.length <= SHOWN)));
    find("refused-section").hidden = false;
  }

  // Reasons that differ in the ids, names and numbers that they tell of are one kind.
  const kindOf = (reason) => reason.replace(/\[[^\]]*\]/g, "[…]").replace(/'[^']*'|"[^"]*"/g, "'…'").replace(/\d[\d,]*/g, "…");

  function refusedGroup(kind, mine, open) {
    const summary = make("summary", {}, make("b", {}, count(mine.length)), " ", make("bdi", {}, kind));
    const element = make("details", { open }, summary);
    const fillOnce = () => {
      if (!element.open || element.children.length > 1) return;
      element.append(listed(mine, ({ number, change, texts }) => [card(change, texts, stepLink(number))]));
    };
    element.addEventListener("toggle", fillOnce);
    fillOnce();
    return element;
  }

  // ------------------------------------------------------------------ going about

  function show(number) {
    place = number;
    view = look(number);
    find("slider").value = number;
    find("slider").setAttribute("aria-valuetext", where());
    find("where").textContent = where();
    find("before").disabled = number <= 0;
    find("after").disabled = number >= run.steps.length;
    keepFocus(() => {
      drawList();
      drawStep();
      drawBullet();
    });
  }

  // What had the focus may be drawn anew, or be gone: then what it was part of has it.
  function keepFocus(draw) {
    const had = document.activeElement;
    const home = had?.closest?.("#playbook, .details section");
    draw();
    if (!home || document.activeElement === had) return;
    const target = had.isConnected ? had : (home.querySelector("h3[tabindex]") ?? home);
    target.focus({ preventScroll: true });
  }

  function where() {
    const step = run.steps[place - 1];
    const parts = [place ? `after step ${numberOf(place)} of ${numberOf(run.steps.length)}` : "before the first step"];
    if (step) parts.push(`epoch ${count(step.epoch)}`);
    parts.push(plural(view.bullets.size, "bullet"));
    if (step) parts.push(plural(step.tokens, "token"));
    if (place === run.best) parts.push("the best playbook");
    return parts.join(" · ");
  }

  // A slider that is dragged asks for more steps than a screen can show: one a frame is drawn.
  function goTo(number) {
    const waiting = wanted !== place;
    wanted = Math.min(Math.max(0, number), run.steps.length);
    find("slider").value = wanted;
    if (wanted !== place && !waiting) requestAnimationFrame(() => show(wanted));
  }

  function choose(id, { go = false } = {}) {
    chosen = id;
    markChosen();
    keepFocus(drawBullet);
    const element = cells.get(id)?.element;
    if (element?.isConnected) element.scrollIntoView({ block: "nearest" });
    if (!go) return;
    find("bullet-heading").scrollIntoView({ block: "nearest" });
    if (matchMedia("(max-width: 62rem)").matches) find("bullet-heading").focus();
  }

  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    const free = event.target === document.body || event.target.closest?.("#playbook, .details, .time button");
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!free || by === undefined) return;
    event.preventDefault();
    goTo(wanted + by);
  }

  function listen() {
    find("slider").addEventListener("input", (event) => goTo(Number(event.target.value)));
    find("before").addEventListener("click", () => goTo(wanted - 1));
    find("after").addEventListener("click", () => goTo(wanted + 1));
    find("best").addEventListener("click", () => goTo(run.best));
    find("best").hidden = run.best === null; // an online run chooses none
    find("last").addEventListener("click", () => goTo(run.steps.length));
    find("search").addEventListener("input", drawList);
    find("sort").addEventListener("change", drawList);
    find("changed").addEventListener("change", drawList);
    box.addEventListener("keydown", moveInList);
    document.addEventListener("keydown", onKey);
  }

  // A browser keeps what was typed and ticked when a page is loaded again; this page starts from nothing.
  function reset() {
    find("slider").max = run.steps.length;
    find("slider").disabled = !run.steps.length;
    find("search").value = "";
    find("sort").value = "order";
    find("changed").checked = false;
  }

  reset();
  listen();
  wanted = run.steps.length;
  show(wanted);
  drawRefused();
  find("over-time").hidden = false;
})();
