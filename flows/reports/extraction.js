// The documents lie in the page as JSON and are parsed when they are looked at. Their text is nobody's HTML:
// it reaches the page through text nodes only, and the page's policy forbids the other ways.
(() => {
  const BLOCK = 2000; // characters that are marked up together, up to the end of their line
  const LONGEST_BLOCK = 20000; // where a line has no end: a block is a paragraph, so a cut shows
  const LANES = 3; // stripes that fit between two lines; an entity deeper than that shares the last
  const LANE = 4; // pixels
  const LINE_HEIGHT = 30; // pixels, about; only for guesses at what was not laid out yet
  const COLOURS = 8;
  const STRIPES = ["solid", "dashed", "dotted"];
  const SHOWN = 200; // rows of a list before one has to ask for more
  const ALSO_HERE = 20; // entities around or inside the chosen one
  const LOST = {
    ungrounded: "nothing like it stands in the text",
    leaked: "it stands in an example of the prompt and not in the text",
    duplicate: "other items of its label have taken its places, or what they are part of",
  };
  const UNANSWERED = "there is no answer about these parts";
  const BADNESS = ["complete", "partial", "failed", "unreadable"];

  const tenths = (share) => (Math.floor(share * 1000) / 10).toFixed(1); // down: only all is 100 %
  const percent = (share) => (share === 1 ? "100 %" : `${tenths(share)} %`);
  const overview = json("overview");
  const box = find("text");

  const hidden = new Set(); // labels
  let least = 0; // confidence
  let version = 0; // of the filter: a block painted under an older one is painted anew when it comes near
  let shown = []; // the spans that the filter lets through, in order
  let chosen = null; // a span, or an item without one
  let page = { index: -1, text: "", entities: [], failed: [], spans: [], byId: new Map(), blocks: [] };
  let near = []; // blocks that are laid out because one of their entities was jumped to

  // ------------------------------------------------------------------ labels

  const looks = new Map(overview.labels.map(([name, description], index) => [name, { index, description }]));
  const colour = (label) => `var(--c${looks.get(label).index % COLOURS})`;
  const stripe = (label) => STRIPES[Math.floor(looks.get(label).index / COLOURS) % STRIPES.length];

  function swatch(label) {
    const element = make("bdi", { class: `swatch ${stripe(label)}` }, label);
    element.style.setProperty("--c", colour(label)); // not a style attribute: the policy allows none
    return element;
  }

  // ------------------------------------------------------------------ spans and blocks

  // In the order of the text, the longer first where two start together.
  function spansOf(entities) {
    const spans = [];
    entities.forEach((entity, id) => {
      if (entity.at && entity.at[1] > entity.at[0]) {
        spans.push({ id, entity, label: entity.label, start: entity.at[0], end: entity.at[1], lane: 0 });
      }
    });
    spans.sort((a, b) => a.start - b.start || b.end - a.end);
    spans.forEach((span, order) => (span.order = order));
    giveLanes(spans);
    return spans;
  }

  // The shortest take the lanes next to the text, so that what surrounds an entity is drawn around it.
  function giveLanes(spans) {
    const lanes = Array.from({ length: LANES - 1 }, () => []); // spans that do not meet, by start
    for (const span of [...spans].sort((a, b) => a.end - a.start - (b.end - b.start) || a.start - b.start)) {
      span.lane = lanes.findIndex((lane) => takes(lane, span));
      if (span.lane < 0) span.lane = LANES - 1;
    }
  }

  function takes(lane, span) {
    const place = firstIndex(lane, (other) => other.end > span.start);
    if (place < lane.length && lane[place].start < span.end) return false;
    lane.splice(place, 0, span);
    return true;
  }

  // Of a list in which what does not hold comes before what holds.
  function firstIndex(list, holds) {
    let low = 0;
    let high = list.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (holds(list[middle])) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  function blocksOf(text) {
    const blocks = [];
    for (let start = 0; start < text.length; start = blocks[blocks.length - 1].end) {
      const end = blockEnd(text, start);
      const element = make("div", { class: "block" });
      blocks.push({ start, end, spans: [], failed: [], version: -1, element });
    }
    return blocks;
  }

  function blockEnd(text, start) {
    if (text.length - start <= BLOCK) return text.length;
    const newline = text.indexOf("\n", start + BLOCK);
    if (newline >= 0 && newline < start + LONGEST_BLOCK) return newline + 1;
    if (text.length - start <= LONGEST_BLOCK) return text.length;
    const end = start + LONGEST_BLOCK;
    const blank = text.slice(start, end).lastIndexOf(" ");
    if (blank > 0) return start + blank + 1;
    return /[\ud800-\udbff]/.test(text[end - 1]) ? end - 1 : end; // not between the halves of a character
  }

  function blocksAt(start, end) {
    const first = firstIndex(page.blocks, (block) => block.end > start);
    const after = firstIndex(page.blocks, (block) => block.start >= end);
    return page.blocks.slice(first, Math.max(after, first));
  }

  // Parts of a block that the same spans cover, and the same failed part.
  function segmentsOf(block) {
    const spans = block.spans.filter(isShown);
    const cuts = new Set([block.start, block.end]);
    for (const { start, end } of [...spans, ...block.failed]) {
      if (start > block.start && start < block.end) cuts.add(start);
      if (end > block.start && end < block.end) cuts.add(end);
    }
    const places = [...cuts].sort((a, b) => a - b);
    const covering = new Set();
    let coming = 0;
    let touches = false; // the segment before this one is marked
    return places.slice(0, -1).map((start, index) => {
      for (const span of covering) if (span.end <= start) covering.delete(span);
      for (; coming < spans.length && spans[coming].start <= start; coming += 1) {
        if (spans[coming].end > start) covering.add(spans[coming]);
      }
      const failed = block.failed.find((part) => part.start <= start && part.end > start);
      const segment = { start, end: places[index + 1], spans: [...covering].sort(byLength), failed, touches };
      touches = covering.size > 0;
      return segment;
    });
  }

  const byLength = (a, b) => a.end - a.start - (b.end - b.start) || a.order - b.order;
  const isShown = (span) => !hidden.has(span.label) && span.entity.confidence >= least - 1e-9;

  // ------------------------------------------------------------------ painting

  function paint(block) {
    if (block.version === version) return;
    block.version = version;
    block.element.replaceChildren(...segmentsOf(block).map(segmentElement));
    if (isSpan(chosen) && chosen.start < block.end && chosen.end > block.start) showChosenMarks();
  }

  function segmentElement(segment) {
    const text = page.text.slice(segment.start, segment.end);
    const { failed, spans } = segment;
    if (!spans.length && !failed) return document.createTextNode(text);
    const element = make(
      spans.length ? "mark" : "span",
      {
        class: failed && "lost-part",
        "data-reason": failed?.start === segment.start && failed.reason,
      },
      text,
    );
    if (spans.length) dressMark(element, segment);
    return element;
  }

  function dressMark(element, { start, end, spans, touches }) {
    const [inner] = spans; // its colour fills, the others have their stripes
    const ends = spans.filter((span) => span.end === end).map((span) => span.label);
    element.dataset.entities = spans.map((span) => span.id).join(" ");
    if (ends.length) element.dataset.ends = ends.join(" · ");
    element.tabIndex = -1; // thousands of stops would make the tab key useless: j and k are for that
    element.setAttribute("aria-description", spans.map((span) => span.label).join(", in "));
    element.classList.toggle("touches", touches && inner.start === start);
    element.style.setProperty("--c", colour(inner.label));
    element.style.setProperty("--room", `${(Math.max(...spans.map((span) => span.lane)) + 1) * LANE}px`);
    element.style.setProperty("--stripes", spans.map((span) => stripeLayer(span, spans)).join(","));
  }

  function stripeLayer(span, spans) {
    const deepest = Math.max(...spans.map((other) => other.lane));
    const place = `0 calc(100% - ${(deepest - span.lane) * LANE}px) / 100% 3px no-repeat`;
    const ink = colour(span.label);
    switch (stripe(span.label)) {
      case "dashed":
        return `repeating-linear-gradient(90deg, ${ink} 0 6px, transparent 6px 9px) ${place}`;
      case "dotted":
        return `repeating-linear-gradient(90deg, ${ink} 0 3px, transparent 3px 6px) ${place}`;
      default:
        return `linear-gradient(${ink}, ${ink}) ${place}`;
    }
  }

  // A block is plain text until it comes near the part that is seen.
  const watcher = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) if (entry.isIntersecting && entry.target.block) paint(entry.target.block);
    },
    { root: box, rootMargin: "1000px 0px" },
  );

  function watchBlocks() {
    watcher.disconnect(); // watching anew reports every block once, and so paints those in sight
    for (const block of page.blocks) watcher.observe(block.element);
  }

  function applyFilter() {
    version += 1;
    shown = page.spans.filter(isShown);
    if (isSpan(chosen) && !isShown(chosen)) choose(null);
    watchBlocks();
    showPlace();
  }

  function countLabels() {
    for (const look of looks.values()) look.count = 0;
    for (const span of page.spans) looks.get(span.label).count += 1;
    for (const look of looks.values()) look.counter.textContent = count(look.count);
  }

  // ------------------------------------------------------------------ a document

  function showDocument(index) {
    const summary = overview.documents[index];
    const findings = json(`findings-${index}`);
    const { entities } = findings;
    const text = json(`text-${index}`);
    chosen = null;
    near = [];
    const spans = spansOf(entities);
    const byId = new Map(spans.map((span) => [span.id, span]));
    page = { index, text, entities, failed: failedParts(findings), spans, byId, blocks: blocksOf(text) };
    page.spans.forEach((span) => blocksAt(span.start, span.end).forEach((block) => block.spans.push(span)));
    page.failed.forEach((part) => blocksAt(part.start, part.end).forEach((block) => block.failed.push(part)));
    find("name").replaceChildren(make("bdi", {}, summary.id));
    find("about").textContent = about(summary);
    putText(summary);
    countLabels();
    applyFilter();
    choose(null);
    showLost();
    markCurrent();
  }

  function putText(summary) {
    const perLine = Math.max(20, box.clientWidth / 7.5);
    for (const block of page.blocks) {
      const text = page.text.slice(block.start, block.end);
      block.element.append(text);
      block.element.block = block;
      const lines = text.split("\n").map((line) => Math.max(1, Math.ceil(line.length / perLine)));
      block.element.style.setProperty("--guess", `${sum(lines) * LINE_HEIGHT}px`);
    }
    const notes = [];
    if (summary.reason) notes.push(make("p", { class: "nothing bad" }, summary.reason));
    if (!page.text) notes.push(make("p", { class: "nothing" }, "No text to show."));
    box.replaceChildren(...notes, ...page.blocks.map((block) => block.element));
    box.scrollTop = 0;
  }

  function about(summary) {
    const parts = [summary.status, plural(summary.characters, "character")];
    if (summary.coverage !== null) parts.push(`${percent(summary.coverage)} read`);
    parts.push(plural(highlighted(summary), "entity", "entities"));
    return parts.join(" · ");
  }

  const isLost = (entity) => entity.status in LOST;
  const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);
  const lostCount = (summary) => sum(Object.keys(LOST).map((status) => summary.statuses[status] ?? 0));
  const highlighted = (summary) => sum(Object.values(summary.statuses)) - lostCount(summary);

  // ------------------------------------------------------------------ the chosen entity

  const isSpan = (item) => item?.order !== undefined; // and not an item without a place in the text

  function choose(next, { focus = false } = {}) {
    for (const mark of box.querySelectorAll("mark.chosen")) {
      mark.classList.remove("chosen", "from", "to");
      mark.tabIndex = -1;
    }
    chosen = next;
    find("chosen").replaceChildren(next ? card(next) : faint("Choose one in the text."));
    if (isSpan(next)) {
      for (const block of blocksAt(next.start, next.end)) paint(block);
      const marks = showChosenMarks();
      if (focus) {
        bringIntoSight(next.start, next.end, () => marks[0]);
        marks[0].focus({ preventScroll: true });
      }
    }
    showPlace();
  }

  function showChosenMarks() {
    if (!isSpan(chosen)) return [];
    const marks = blocksAt(chosen.start, chosen.end).flatMap((block) =>
      [...block.element.querySelectorAll("mark")].filter((mark) => spansAt(mark).includes(chosen)),
    );
    marks.forEach((mark) => mark.classList.add("chosen"));
    marks[0]?.classList.add("from");
    marks.at(-1)?.classList.add("to");
    if (marks[0]) marks[0].tabIndex = 0;
    return marks;
  }

  // Blocks that were never seen have guessed heights: those around the place are laid out first.
  function bringIntoSight(start, end, target) {
    for (const block of near) block.element.style.removeProperty("content-visibility");
    const blocks = blocksAt(start, end);
    const first = page.blocks.indexOf(blocks[0]);
    near = page.blocks.slice(Math.max(0, first - 2), first + Math.min(blocks.length, 3) + 2);
    for (const block of near) block.element.style.setProperty("content-visibility", "visible");
    box.scrollIntoView({ block: "nearest" });
    const [place] = target().getClientRects(); // its first line: it can be longer than what is in sight
    const frame = box.getBoundingClientRect();
    if (place.top < frame.top + 40 || place.bottom > frame.bottom - 40) {
      box.scrollTop += place.top - frame.top - box.clientHeight / 3;
    }
  }

  const spansAt = (mark) => mark.dataset.entities.split(" ").map((id) => page.byId.get(Number(id)));

  function step(forward) {
    if (!shown.length) return;
    const here = chosen?.order ?? (forward ? -1 : Infinity);
    const after = firstIndex(shown, (span) => span.order > here);
    const before = firstIndex(shown, (span) => span.order >= here) - 1;
    choose(shown[(forward ? after : before + shown.length) % shown.length], { focus: true });
  }

  // From an entity to the next larger one that covers the same place, and from the largest to the smallest.
  function outwards() {
    if (!isSpan(chosen)) return;
    const spans = overlapping(chosen);
    choose(spans[(spans.indexOf(chosen) + 1) % spans.length], { focus: true });
  }

  const overlapping = (span) =>
    shown.filter((other) => other.start < span.end && other.end > span.start).sort(byLength);

  function showPlace() {
    const position = isSpan(chosen) ? 1 + firstIndex(shown, (span) => span.order >= chosen.order) : 0;
    find("place").textContent = position
      ? `${count(position)} of ${count(shown.length)}`
      : plural(shown.length, "entity", "entities");
    find("next").disabled = find("previous").disabled = !shown.length;
  }

  function card(span) {
    const { entity } = span;
    const rows = [["status", entity.status]];
    if (isLost(entity)) rows.push(["why", LOST[entity.status]]);
    if (entity.normalized !== null) rows.push(["value", entity.normalized]);
    if (entity.chars) rows.push(["characters", `${entity.chars[0]}–${entity.chars[1]}`]);
    if (entity.status === "fuzzy" && entity.similarity !== null) {
      rows.push(["similarity", entity.similarity.toFixed(2)]);
    }
    rows.push(["confidence", `${entity.confidence.toFixed(2)} (${plural(entity.votes, "vote")})`]);
    rows.push(...Object.entries(entity.attributes));
    const places = entity.from.map(([pass, chunk, item]) => `pass ${pass}, chunk ${chunk}, item ${item}`);
    if (places.length) rows.push(["from", places.join("; ")]);
    const element = make("div", { class: "card" }, swatch(entity.label));
    element.append(verbatim(entity.text), pairs(rows));
    if (entity.conflict) element.append(make("p", {}, "Another label was given to the very same span."));
    const others = isSpan(span) ? overlapping(span).filter((other) => other !== span) : [];
    if (others.length) element.append(faint("Also here"));
    element.append(...others.slice(0, ALSO_HERE).map(jump));
    return element;
  }

  function pairs(rows) {
    const pair = ([name, value]) => [make("dt", {}, name), make("dd", { dir: "auto" }, value)];
    return make("dl", {}, ...rows.flatMap(pair));
  }

  function jump(span) {
    const act = () => choose(span, { focus: true });
    return button({}, act, swatch(span.label), " ", make("bdi", {}, brief(span.entity.text)));
  }

  const brief = (text) => (text.length > 80 ? `${[...text.slice(0, 160)].slice(0, 80).join("")} …` : text);

  // ------------------------------------------------------------------ what is not highlighted

  function showLost() {
    const lost = Object.keys(LOST).map((status) => {
      const items = page.entities.filter((entity) => entity.status === status);
      return group(status, LOST[status], items.length, () => items, (entity) => lostRow(entity), true);
    });
    const parts = page.failed;
    const failed = group("failed", UNANSWERED, parts.length, () => parts, (part) => failedRow(part), true);
    fill("lost", [...lost, failed]);
  }

  function showPart(part) {
    for (const block of blocksAt(part.start, part.end)) paint(block);
    bringIntoSight(part.start, part.end, () => {
      const [block] = blocksAt(part.start, part.end);
      return block.element.querySelector("[data-reason]") ?? block.element;
    });
  }

  function fill(id, groups) {
    const filled = groups.filter(Boolean);
    find(id).replaceChildren(...(filled.length ? filled : [faint("Nothing.")]));
  }

  // A list that is filled when it is opened: the items of all documents can be many.
  function group(name, why, size, items, row, open = false) {
    if (!size) return null;
    const list = make("ol", { class: "items" });
    const summary = make("summary", {}, `${name} `, make("b", {}, count(size)));
    summary.append(make("span", { class: "faint small" }, ` – ${why}`));
    const element = make("details", { "data-group": name, open: open && size <= 20 }, summary, list);
    const fillOnce = () => {
      if (element.open && !list.children.length) fillList(list, items(), row);
    };
    element.addEventListener("toggle", fillOnce);
    fillOnce();
    return element;
  }

  function fillList(list, items, row, from = 0) {
    list.append(...items.slice(from, from + SHOWN).map((item) => make("li", {}, row(item))));
    const left = items.length - from - SHOWN;
    if (left <= 0) return;
    const more = make("li");
    const show = () => {
      more.remove();
      fillList(list, items, row, from + SHOWN);
    };
    more.append(button({}, show, `… ${count(left)} more`));
    list.append(more);
  }

  // Without an index an item belongs to the document that is shown, and does not name it.
  function lostRow(entity, index) {
    const act = () => {
      if (index !== undefined) visit(index);
      choose({ entity });
    };
    return button({}, act, swatch(entity.label), " ", what(brief(entity.text)), ...where(index));
  }

  function failedRow(part, index) {
    const act = () => {
      if (index !== undefined) visit(index);
      showPart(page.failed[part.id]);
    };
    const place = `characters ${part.chars[0]}–${part.chars[1]}: `;
    return button({}, act, place, what(part.reason), ...where(index));
  }

  const what = (text) => make("bdi", { class: "what" }, text);
  const where = (index) =>
    index === undefined ? [] : [make("bdi", { class: "where" }, ` ${overview.documents[index].id}`)];

  function showEverywhere() {
    fill("everywhere", [incompleteGroup(), ...Object.keys(LOST).map(lostGroup), failedGroup()]);
  }

  function incompleteGroup() {
    const indices = overview.documents.map((_, index) => index);
    const items = indices.filter((index) => overview.documents[index].status !== "complete");
    return group("documents", "not read to the end", items.length, () => items, incompleteRow);
  }

  function incompleteRow(index) {
    const { id, status, reason } = overview.documents[index];
    return button({}, () => visit(index), badge(status), " ", make("bdi", {}, id), " ", what(reason));
  }

  const badge = (status) => make("span", { class: `badge ${status}` }, status);

  function lostGroup(status) {
    const select = ({ entities }) => entities.filter((entity) => entity.status === status);
    const items = () => gather((summary) => summary.statuses[status], select);
    return group(status, LOST[status], total(status), items, ({ index, item }) => lostRow(item, index));
  }

  function failedGroup() {
    const items = () => gather((summary) => summary.failed, failedParts);
    const size = sum(overview.documents.map((summary) => summary.failed));
    return group("failed", UNANSWERED, size, items, ({ index, item }) => failedRow(item, index));
  }

  const failedParts = ({ failed }) =>
    failed.map((part, id) => ({ ...part, id, start: part.at[0], end: part.at[1] }));
  const total = (status) => sum(overview.documents.map((summary) => summary.statuses[status] ?? 0));

  function gather(has, select) {
    return overview.documents.flatMap((summary, index) =>
      has(summary) ? select(json(`findings-${index}`)).map((item) => ({ index, item })) : [],
    );
  }

  function visit(index) {
    if (index !== page.index) showDocument(index);
    find("name").scrollIntoView({ block: "nearest" });
  }

  // ------------------------------------------------------------------ the list of documents

  const rows = overview.documents.map((summary, index) => documentRow(summary, index));

  function documentRow(summary, index) {
    const said = [plural(highlighted(summary), "entity", "entities")];
    if (summary.coverage !== null) said.unshift(`${percent(summary.coverage)} read`);
    if (lostCount(summary)) said.push(`${count(lostCount(summary))} not highlighted`);
    const name = make("bdi", {}, summary.id);
    const element = button({ title: summary.reason || undefined }, () => showDocument(index), name);
    if (summary.status !== "complete") element.append(" ", badge(summary.status));
    element.append(make("small", {}, said.join(" · ")));
    return { summary, index, element, item: make("li", {}, element) };
  }

  const ORDERS = {
    order: () => 0,
    id: (a, b) => a.summary.id.localeCompare(b.summary.id, "en", { numeric: true }),
    status: (a, b) => BADNESS.indexOf(b.summary.status) - BADNESS.indexOf(a.summary.status),
    coverage: (a, b) => (a.summary.coverage ?? -1) - (b.summary.coverage ?? -1),
    entities: (a, b) => highlighted(b.summary) - highlighted(a.summary),
    lost: (a, b) => lostCount(b.summary) - lostCount(a.summary),
  };

  function listDocuments() {
    const words = find("search").value.toLowerCase();
    const order = ORDERS[find("sort").value];
    const matching = rows.filter((row) => row.summary.id.toLowerCase().includes(words));
    matching.sort((a, b) => order(a, b) || a.index - b.index);
    find("documents").replaceChildren(...matching.map((row) => row.item));
    const all = plural(rows.length, "document");
    find("matching").textContent = words ? `${count(matching.length)} of ${all}` : all;
    markCurrent();
  }

  // One stop of the tab key for the whole list; the arrow keys move in it.
  function markCurrent() {
    for (const row of rows) {
      row.element.setAttribute("aria-current", String(row.index === page.index));
      row.element.tabIndex = -1;
    }
    const row = rows[page.index];
    const stop = row?.item.isConnected ? row.element : find("documents").querySelector("button");
    if (stop) stop.tabIndex = 0;
  }

  function moveInList(event) {
    const buttons = [...find("documents").querySelectorAll("button")];
    const here = buttons.indexOf(document.activeElement);
    const there = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (there === undefined || !buttons[there]) return;
    event.preventDefault();
    buttons[there].focus();
  }

  // ------------------------------------------------------------------ totals, legend, tip, keys

  function showTotals() {
    const { documents } = overview;
    const read = documents.filter((summary) => summary.coverage !== null);
    const characters = sum(read.map((summary) => summary.characters));
    const having = (status) => documents.filter((summary) => summary.status === status).length;
    const states = BADNESS.map((status) => [status, having(status)]);
    const lost = Object.keys(LOST).map((status) => [status, total(status)]);
    const failed = sum(documents.map((summary) => summary.failed));
    const share = sum(read.map((summary) => summary.coverage * summary.characters)) / characters;
    find("totals").append(
      tile("documents", count(documents.length), told(states)),
      tile("entities", count(sum(documents.map(highlighted))), "highlighted"),
      tile("read", characters ? percent(share) : "–", `of ${plural(characters, "character")}`),
      tile("not highlighted", count(sum(lost.map(([, number]) => number))), told(lost)),
      tile("failed parts", count(failed), "", failed > 0),
    );
  }

  // [[name, number]] without the zeros, as "3 complete, 1 failed".
  function told(counts) {
    const some = counts.filter(([, number]) => number);
    return some.map(([name, number]) => `${count(number)} ${name}`).join(", ");
  }

  const tile = (name, value, more, bad = false) =>
    make("div", { class: bad ? "tile bad" : "tile" }, name, make("b", {}, value), more);

  function showLegend() {
    for (const [label, look] of looks) {
      look.counter = make("span", { class: "faint small" });
      look.check = make("input", { type: "checkbox", checked: true, "data-label": label });
      look.check.addEventListener("change", () => {
        if (look.check.checked) hidden.delete(label);
        else hidden.add(label);
        applyFilter();
      });
      const row = make("label", { title: look.description }, look.check, swatch(label), look.counter);
      find("legend").append(row);
    }
    if (looks.size > 2) {
      find("legend").append(
        button({ class: "small" }, () => checkAll(true), "all"),
        button({ class: "small" }, () => checkAll(false), "none"),
      );
    }
  }

  function checkAll(on) {
    for (const [label, { check }] of looks) {
      check.checked = on;
      if (on) hidden.delete(label);
      else hidden.add(label);
    }
    applyFilter();
  }

  function showTip(mark) {
    const tip = find("tip");
    tip.replaceChildren(...spansAt(mark).map(({ entity }) => tipLine(entity)));
    tip.hidden = false;
    const place = mark.getClientRects()[0];
    const { offsetWidth, offsetHeight } = tip;
    const above = place.top - offsetHeight - 6;
    tip.style.left = `${Math.max(4, Math.min(place.left, innerWidth - offsetWidth - 8))}px`;
    tip.style.top = `${above > 4 ? above : place.bottom + 10}px`;
  }

  function tipLine(entity) {
    const parts = [entity.label, entity.status, entity.confidence.toFixed(2)];
    if (entity.normalized !== null) parts.push(entity.normalized);
    return make("div", {}, parts.join(" · "));
  }

  const hideTip = () => (find("tip").hidden = true);

  function onMark(event, act) {
    const mark = event.target.closest?.("mark");
    if (mark && box.contains(mark)) act(mark);
    else hideTip();
  }

  // A second click goes from the innermost entity to the one around it.
  function clickMark(mark) {
    const spans = spansAt(mark);
    choose(spans[(spans.indexOf(chosen) + 1) % spans.length]);
  }

  const next = () => step(true);
  const previous = () => step(false);
  const KEYS = { j: next, n: next, k: previous, p: previous, o: outwards };

  function onKey(event) {
    if (event.key === "Escape") hideTip();
    const typing = event.target.matches?.("input[type=search], select, textarea");
    if (typing || event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(KEYS, event.key)) return;
    event.preventDefault();
    KEYS[event.key]();
  }

  function listen() {
    find("search").addEventListener("input", listDocuments);
    find("sort").addEventListener("change", listDocuments);
    find("documents").addEventListener("keydown", moveInList);
    find("next").addEventListener("click", next);
    find("previous").addEventListener("click", previous);
    find("tags").addEventListener("change", (event) => box.classList.toggle("tagged", event.target.checked));
    find("confidence").addEventListener("input", (event) => {
      least = Number(event.target.value);
      find("confidence-shown").textContent = least.toFixed(2);
      applyFilter();
    });
    box.addEventListener("click", (event) => onMark(event, clickMark));
    box.addEventListener("mouseover", (event) => onMark(event, showTip));
    box.addEventListener("focusin", (event) => onMark(event, showTip));
    box.addEventListener("mouseleave", hideTip);
    box.addEventListener("scroll", hideTip, { passive: true });
    document.addEventListener("scroll", hideTip, { passive: true });
    document.addEventListener("keydown", onKey);
  }

  // A browser keeps what was typed and ticked when a page is loaded again; the filter starts from nothing.
  function resetControls() {
    find("search").value = "";
    find("sort").value = "order";
    find("confidence").value = "0";
    find("tags").checked = false;
  }

  resetControls();
  showTotals();
  showLegend();
  listDocuments();
  showEverywhere();
  listen();
  if (overview.documents.length) showDocument(0);
  else find("name").textContent = "No documents";
})();
