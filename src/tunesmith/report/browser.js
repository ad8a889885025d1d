/* The table of all test rows. Texts of rows are only ever set as text, never as markup. */
(() => {
  "use strict";
  const island = document.getElementById("packed");
  if (!island || !("DecompressionStream" in window)) return;
  const UNREADABLE = -1;
  const byId = (id) => document.getElementById(id);

  function el(tag, attributes, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  async function unpack(text) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return JSON.parse(await new Response(stream).text());
  }

  /* ---- rows */

  function outcome(data, i, before) {
    const old = data.answers[before].quality[i];
    const now = data.answers[data.tuned].quality[i];
    if (old === null || now === null) return "";
    if (data.tasks[data.task[i]].graded) return now > old ? "improved" : now < old ? "worse" : "same";
    return old === now ? (now ? "right" : "wrong") : now ? "fixed" : "broken";
  }

  function rowsOf(data, before) {
    const old = data.answers[before];
    const tuned = data.answers[data.tuned];
    return data.id.map((id, i) => ({
      i, id,
      outcome: outcome(data, i, before),
      prompt: data.prompt[i],
      reference: data.reference[i],
      before: old.text[i],
      after: tuned.text[i],
      unreadable: !tuned.valid[i] || !old.valid[i],
    }));
  }

  /* ---- what a row shows */

  function isRight(data, i, system) {
    return !data.tasks[data.task[i]].graded && data.answers[system].quality[i] === 1;
  }

  /* The answer with the words marked that the reference does not have. */
  function answerOf(data, i, system) {
    const text = data.answers[system].text[i];
    const shown = el("span", {});
    if (text === null) shown.append("(no answer)");
    else if (text === "") shown.append("(empty)");
    else if (isRight(data, i, system)) shown.append(text);
    else shown.append(...marked(data.reference[i], text));
    const task = data.tasks[data.task[i]];
    const quality = data.answers[system].quality[i];
    if (task.shown && quality !== null)
      shown.append(" ", el("span", { class: "score" }, Math.abs(quality).toFixed(3)));
    return shown;
  }

  /* The right answer with the words marked that a wrong answer of the tuned model has not. */
  function referenceOf(data, i) {
    const text = data.answers[data.tuned].text[i];
    if (!text || isRight(data, i, data.tuned)) return data.reference[i];
    const parts = Diff.diffWords(data.reference[i], text, { timeout: 50 });
    if (!parts) return data.reference[i];
    const kept = parts.filter((part) => !part.added);
    return el("span", {}, ...kept.map((part) => (part.removed ? el("mark", {}, part.value) : part.value)));
  }

  function marked(reference, text) {
    const parts = Diff.diffWords(reference, text, { timeout: 50 });
    if (!parts) return [text];
    return parts
      .filter((part) => !part.removed)
      .map((part) => (part.added ? el("mark", {}, part.value) : part.value));
  }

  function clamp(...children) {
    return el("div", { class: "clamp" }, ...children);
  }

  function outcomeOf(data, row) {
    const name = data.outcomes[row.outcome] ?? "No answer";
    return el("span", { class: `outcome ${row.outcome}` }, row.unreadable ? `${name} (unreadable)` : name);
  }

  /* ---- filters: outcome, search, and a select for each way of dividing the rows */

  function choicesOf(data) {
    const answered = data.answers[data.tuned].class;
    return [
      data.tasks.length > 1 && { name: "Task", values: data.tasks.map((task) => task.name), of: data.task },
      data.classes.length && { name: "Right class", values: data.classes, of: data.class },
      data.classes.length && { name: "Answered class", values: data.classes, of: answered },
      ...data.slices.map((way) => ({ ...way, name: `By ${way.name}` })),
    ].filter(Boolean);
  }

  function matcher(data, choices, state) {
    const known = [];
    const textOf = (i) => (known[i] ??= [
      data.id[i], data.source[i], data.prompt[i], data.reference[i],
      ...data.answers.map((answer) => answer.text[i] ?? ""),
    ].join("\n").toLowerCase());
    return (row) => {
      if (state.outcome === "unreadable" && !row.unreadable) return false;
      if (state.outcome && state.outcome !== "unreadable" && row.outcome !== state.outcome) return false;
      if (!choices.every((choice) => !state.wanted.has(choice.name) || choice.of[row.i] === state.wanted.get(choice.name)))
        return false;
      return state.search.every((word) => textOf(row.i).includes(word));
    };
  }

  /* ---- columns: five of them, or one where there is no room */

  function columnsOf(data, state, narrow) {
    const order = Object.keys(data.outcomes);
    const column = (title, field, sorter, show, more) => ({
      title: "", titleFormatter: () => document.createTextNode(title), field, sorter, ...more,
      formatter: (cell) => show(cell.getData()),
      headerWordWrap: true, resizable: false, download: false, headerSortTristate: true,
    });
    const systems = [data.systems[state.before], data.systems[data.tuned]];
    const byOutcome = (a, b) => order.indexOf(a) - order.indexOf(b);
    const before = (row) => answerOf(data, row.i, state.before);
    const after = (row) => answerOf(data, row.i, data.tuned);
    const exported = exportedColumns(data);
    if (narrow) {
      const card = (row) => el("div", { class: "card" }, outcomeOf(data, row), clamp(row.prompt), el("dl", {},
        el("dt", {}, "Right answer"), el("dd", {}, clamp(referenceOf(data, row.i))),
        el("dt", {}, systems[0]), el("dd", {}, clamp(before(row))),
        el("dt", {}, systems[1]), el("dd", {}, clamp(after(row)))));
      return [column("Outcome and row", "outcome", byOutcome, card), ...exported];
    }
    return [
      column("Outcome", "outcome", byOutcome, (row) => outcomeOf(data, row), { width: 120 }),
      column("Text", "prompt", "string", (row) => clamp(row.prompt), { widthGrow: 3 }),
      column("Right answer", "reference", "string", (row) => clamp(referenceOf(data, row.i))),
      column(systems[0], "before", "string", (row) => clamp(before(row))),
      column(systems[1], "after", "string", (row) => clamp(after(row))),
      ...exported,
    ];
  }

  /* ---- CSV: every system's answers, of the rows that are shown */

  function exportedColumns(data) {
    const column = (title, value) => ({
      title: safe(title), field: `csv ${title}`, visible: false, download: true,
      accessorDownload: (_, row) => safe(value(row.i, row)),
    });
    return [
      column("id", (i) => data.id[i]),
      column("source", (i) => data.source[i]),
      ...(data.tasks.length > 1 ? [column("task", (i) => data.tasks[data.task[i]].name)] : []),
      column("outcome", (_, row) => data.outcomes[row.outcome] ?? ""),
      column("text", (i) => data.prompt[i]),
      column("right answer", (i) => data.reference[i]),
      ...data.answers.map((answer, k) => column(data.systems[k], (i) => answer.text[i] ?? "")),
    ];
  }

  /* What a spreadsheet would run as a formula becomes a text. */
  function safe(text) {
    return /^[=+@\t\r-]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text;
  }

  /* ---- one row, whole */

  function verdictOn(data, i, system) {
    const quality = data.answers[system].quality[i];
    if (quality === null || data.tasks[data.task[i]].graded) return "";
    const unreadable = data.answers[system].valid[i] ? "" : ", unreadable";
    return quality === 1 ? " \u2713 right" : ` \u2715 wrong${unreadable}`;
  }

  function detailsOf(data, choices, state, row) {
    const about = choices
      .filter((choice) => choice.of[row.i] >= 0)
      .map((choice) => `${choice.name}: ${choice.values[choice.of[row.i]]}`);
    const others = data.systems.map((_, k) => k).filter((k) => k !== state.before && k !== data.tuned);
    const answers = [state.before, data.tuned, ...others].flatMap((k) => [
      el("dt", {}, data.systems[k] + verdictOn(data, row.i, k)), el("dd", {}, answerOf(data, row.i, k)),
    ]);
    return [
      el("p", { class: "note" }, outcomeOf(data, row), ` ${[data.source[row.i], ...about].filter(Boolean).join(" \u00b7 ")}`),
      el("dl", {},
        el("dt", {}, "Prompt"),
        el("dd", {}, el("span", { class: "shared" }, data.start), row.prompt, el("span", { class: "shared" }, data.end)),
        el("dt", {}, "Right answer"), el("dd", {}, referenceOf(data, row.i)), ...answers),
    ];
  }

  /* ---- the page */

  function start(data) {
    const choices = choicesOf(data);
    const state = { before: data.before, outcome: "", search: [], wanted: new Map() };
    const keeps = matcher(data, choices, state);
    const narrow = matchMedia("(max-width: 44rem)");
    let rows = rowsOf(data, state.before);

    const table = new Tabulator("#grid", {
      data: rows,
      index: "i",
      columns: columnsOf(data, state, narrow.matches),
      layout: "fitColumns",
      renderVertical: "basic",
      pagination: true,
      paginationSize: 20,
      paginationSizeSelector: [20, 50, 100],
      paginationElement: byId("pages"),
      placeholder: "No row is like that.",
      rowFormatter: (row) => { row.getElement().tabIndex = -1; },
    });

    /* -- what is shown */

    function refresh() {
      table.setFilter(keeps);
      for (const button of byId("outcomes").children)
        button.setAttribute("aria-pressed", String(button.value === state.outcome));
    }

    function fillOutcomes() {
      const count = (keep) => rows.filter(keep).length;
      const found = [["", "All", rows.length]];
      for (const [name, title] of Object.entries(data.outcomes))
        found.push([name, title, count((row) => row.outcome === name)]);
      found.push(["unreadable", "Unreadable", count((row) => row.unreadable)]);
      byId("outcomes").replaceChildren(...found.filter(([, , n]) => n).map(([value, title, n]) => {
        const button = el("button", { type: "button", value }, `${title} ${n.toLocaleString("en")}`);
        button.onclick = () => { state.outcome = value; refresh(); };
        return button;
      }));
    }

    function select(label, options, onchange) {
      const made = el("select", {}, ...options.map(([value, text]) => el("option", { value }, text)));
      made.onchange = () => onchange(made.value);
      return [made, el("label", {}, label, made)];
    }

    function fillSelects() {
      for (const choice of choices) {
        const number = (value) => value !== UNREADABLE && choice.of.includes(value);
        const options = choice.values.map((text, value) => [value, text]).filter(([value]) => number(value));
        if (choice.of.includes(UNREADABLE)) options.push([UNREADABLE, "(unreadable)"]);
        [choice.select, choice.label] = select(choice.name, [["", "All"], ...options], (value) => {
          if (value === "") state.wanted.delete(choice.name);
          else state.wanted.set(choice.name, Number(value));
          refresh();
        });
      }
      const systems = data.systems.map((title, k) => [k, title]).filter(([k]) => k !== data.tuned);
      const [made, label] = select("Compare with", systems, compareWith);
      made.value = String(state.before);
      byId("selects").replaceChildren(label, ...choices.map((choice) => choice.label));
    }

    function compareWith(value) {
      state.before = Number(value);
      state.outcome = "";
      rows = rowsOf(data, state.before);
      fillOutcomes();
      layOut();
      table.replaceData(rows).then(refresh);
    }

    function layOut() {
      table.setColumns(columnsOf(data, state, narrow.matches));
      makeHeadersKeyed();
    }

    function reset() {
      Object.assign(state, { outcome: "", search: [] });
      state.wanted.clear();
      byId("find").value = "";
      for (const choice of choices) choice.select.value = "";
      refresh();
    }

    function show(wanted) {
      reset();
      for (const [name, value] of Object.entries(wanted)) {
        state.wanted.set(name, value);
        choices.find((choice) => choice.name === name).select.value = String(value);
      }
      refresh();
      byId("browser").scrollIntoView();
      byId("count").focus();
    }

    /* -- keyboard: headers sort, one row of the page can be reached by Tab, arrows go on from it */

    function makeHeadersKeyed() {
      for (const header of document.querySelectorAll("#grid .tabulator-col")) {
        header.tabIndex = 0;
        header.onkeydown = (event) => {
          if (event.key !== "Enter" && event.key !== " ") return;
          event.preventDefault();
          header.click();
        };
      }
    }

    const shownRows = () => [...document.querySelectorAll("#grid .tabulator-row")];

    function makeRowsKeyed() {
      // in a grid rows take the focus, and nothing around them
      document.querySelector("#grid .tabulator-tableholder")?.removeAttribute("tabindex");
      shownRows().forEach((row, k) => { row.tabIndex = k ? -1 : 0; });
    }

    function move(event) {
      const rows = shownRows();
      const at = rows.indexOf(event.target.closest(".tabulator-row"));
      if (at < 0) return;
      const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.length - 1 }[event.key];
      if (to !== undefined) {
        event.preventDefault();
        rows[to]?.focus();
        if (rows[to]) rows.forEach((row, k) => { row.tabIndex = k === to ? 0 : -1; });
      } else if (event.key === "Enter") {
        event.preventDefault();
        open(active().findIndex((row) => row.getElement() === rows[at]));
      }
    }

    /* -- one row, whole */

    const active = () => table.getRows("active");
    let at = -1;

    function open(place) {
      const found = active();
      if (place < 0 || place >= found.length) return;
      at = place;
      const row = found[at].getData();
      byId("row-title").textContent = row.id;
      byId("row-body").replaceChildren(...detailsOf(data, choices, state, row));
      byId("previous").disabled = at === 0;
      byId("next").disabled = at === found.length - 1;
      if (!byId("row").open) byId("row").showModal();
    }

    function linkCounts() {
      const link = (cell, right, answered) => {
        const n = cell.textContent.trim();
        if (n === "0") return;
        const label = `${n} rows: right class ${data.classes[right]}, answered ${data.classes[answered] ?? "(unreadable)"}`;
        const button = el("button", { type: "button", "aria-label": `${label}. Show them` }, n);
        button.onclick = () => show({ "Right class": right, "Answered class": answered });
        cell.replaceChildren(button);
      };
      if (!data.classes.length) return;
      document.querySelectorAll(".matrix tbody tr").forEach((row, right) =>
        row.querySelectorAll("td").forEach((cell, k) => link(cell, right, k < data.classes.length ? k : UNREADABLE)));
      for (const row of document.querySelectorAll(".mistakes tbody tr")) {
        const [answer, count] = row.querySelectorAll("td");
        link(count, data.classes.indexOf(row.querySelector("th").textContent), data.classes.indexOf(answer.textContent));
      }
    }

    /* -- events */

    table.on("tableBuilt", () => { makeHeadersKeyed(); refresh(); });
    table.on("renderComplete", makeRowsKeyed);
    table.on("dataFiltered", (_, found) => {
      byId("count").textContent = `${found.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")} rows`;
    });
    table.on("rowClick", (_, row) => open(active().indexOf(row)));
    byId("grid").addEventListener("keydown", move);
    byId("find").oninput = (event) => {
      state.search = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
      refresh();
    };
    byId("reset").onclick = reset;
    byId("csv").onclick = () => table.download("csv", "test_rows.csv", { bom: true });
    byId("close").onclick = () => byId("row").close();
    byId("previous").onclick = () => open(at - 1);
    byId("next").onclick = () => open(at + 1);
    byId("row").onkeydown = (event) => {
      if (event.key === "ArrowLeft") open(at - 1);
      if (event.key === "ArrowRight") open(at + 1);
    };
    document.addEventListener("keydown", (event) => {
      if (event.key !== "/" || byId("row").open || event.target.closest("input, select, textarea")) return;
      event.preventDefault();
      byId("find").focus();
    });
    narrow.addEventListener("change", layOut);
    fillOutcomes();
    fillSelects();
    linkCounts();
  }

  unpack(island.textContent).then((data) => {
    byId("browser").hidden = false;
    byId("sample").hidden = true;
    start(data);
  });
})();
