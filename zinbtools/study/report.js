// Sorting of every table, search and filter of the genes. Without this script the page shows the same, unsorted.
"use strict";
(() => {
  const letters = new Intl.Collator("en", { numeric: true });
  const value = (text) => Number.parseFloat(text.replaceAll(",", ""));

  // What has no number comes last, whichever way the others go.
  function ordered(rows, column, descending, byWord) {
    const sign = descending ? -1 : 1;
    if (byWord) return rows.toSorted((a, b) => sign * letters.compare(a[column], b[column]));
    return rows.toSorted((a, b) => {
      const [x, y] = [value(a[column]), value(b[column])];
      if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
      return sign * (x - y);
    });
  }

  // A button in each heading; onSort(column, descending, byWord) does the rest.
  function sortable(table, onSort) {
    const heads = [...table.tHead.rows[0].cells];
    for (const [column, head] of heads.entries()) {
      const byWord = head.dataset.sort === "word";
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const now = head.getAttribute("aria-sort");
        const descending = now ? now === "ascending" : !byWord;
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", descending ? "descending" : "ascending");
        onSort(column, descending, byWord);
      });
    }
  }

  for (const table of document.querySelectorAll("table.static")) {
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => Object.assign([...row.cells].map((c) => c.textContent), { row }));
    sortable(table, (...how) => body.replaceChildren(...ordered(rows, ...how).map((cells) => cells.row)));
  }

  const table = document.getElementById("genes-table");
  if (table) {
    let rows = JSON.parse(document.getElementById("genes-data").textContent);
    const step = table.tBodies[0].rows.length;
    let shown = step;
    const [search, call, count, more] = ["search", "call", "count", "more"].map((part) =>
      document.getElementById(`genes-${part}`),
    );
    const heads = [...table.tHead.rows[0].cells];
    const called = heads.findIndex((head) => head.dataset.call !== undefined);

    const draw = () => {
      const words = search.value.trim().toLowerCase();
      const found = rows.filter(
        (row) => row[0].toLowerCase().includes(words) && (!call?.value || row[called] === call.value),
      );
      const drawn = found.slice(0, shown).map((row) => {
        const line = document.createElement("tr");
        for (const [column, text] of row.entries()) {
          const cell = document.createElement(column ? "td" : "th");
          if (!column) cell.scope = "row";
          else if (heads[column].dataset.sort === "word") cell.className = "word";
          cell.textContent = text;
          line.append(cell);
        }
        return line;
      });
      table.tBodies[0].replaceChildren(...drawn);
      const [n, all] = [drawn.length, found.length].map((number) => number.toLocaleString("en"));
      count.textContent = `${n} of ${all} genes shown`;
      more.hidden = drawn.length === found.length;
    };

    sortable(table, (...how) => {
      rows = ordered(rows, ...how);
      draw();
    });
    const again = () => {
      shown = step;
      draw();
    };
    search.addEventListener("input", again);
    call?.addEventListener("change", again);
    more.addEventListener("click", () => {
      shown += 100;
      draw();
    });
    for (const part of document.querySelectorAll(".controls")) part.hidden = false;
    draw();
  }

  // Where a table or a wide picture is cut off, as on a phone, say that it goes on.
  const cut = () => {
    for (const box of document.querySelectorAll(".scroll")) {
      const before = box.previousElementSibling;
      const hint = before?.matches(".hint") ? before : document.createElement("p");
      hint.className = "hint";
      hint.textContent = `The ${box.closest("figure") ? "picture" : "table"} goes on to the right: scroll it sideways.`;
      hint.hidden = box.scrollWidth <= box.clientWidth;
      if (hint !== before) box.before(hint);
    }
  };
  window.addEventListener("resize", cut);
  for (const fold of document.querySelectorAll("details")) fold.addEventListener("toggle", cut);
  cut();

  // Hundreds of rows are read in the CSV, and not on paper.
  window.addEventListener("beforeprint", () => {
    for (const fold of document.querySelectorAll("details")) fold.open = fold.dataset.long === undefined;
  });
})();
