"use strict";
(() => {
  const sortKey = (row, at) => {
    const cell = row.cells[at];
    if (!("sort" in cell.dataset)) return null;
    return cell.classList.contains("number") ? Number(cell.dataset.sort) : cell.dataset.sort;
  };
  const compared = (one, other) =>
    typeof one === "number" ? one - other : one.localeCompare(other, "en", { numeric: true });

  const sort = (table, head, at) => {
    const direction = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
    const sign = direction === "ascending" ? 1 : -1;
    const rows = [...table.tBodies[0].rows].map((row) => [sortKey(row, at), row]);
    rows.sort(([one], [other]) => {
      // What is missing is last in either direction.
      if (one === null || other === null) return (one === null) - (other === null);
      return sign * compared(one, other);
    });
    for (const each of table.tHead.rows[0].cells) each.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", direction);
    table.classList.add("sorted");
    table.tBodies[0].append(...rows.map(([, row]) => row));
  };

  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((head, at) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      button.addEventListener("click", () => sort(table, head, at));
      head.append(button);
    });
  }

  // A link to a case opens its conditions.
  const opened = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target instanceof HTMLDetailsElement) {
      target.open = true;
      target.querySelector("summary").focus();
    }
  };
  addEventListener("hashchange", opened);
  document.addEventListener("click", (event) => {
    if (event.target.closest?.('a[href^="#case-"]')) setTimeout(opened);
  });
  opened();

  // Browsers that cannot show closed details on paper open them for it.
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    for (const each of closed) each.open = true;
  });
  addEventListener("afterprint", () => {
    for (const each of closed) each.open = false;
  });

  const drawn = () => (document.documentElement.dataset.drawn = "yes");
  const specs = document.getElementById("specs");
  if (!specs) return drawn();
  const text = { labelColor: "var(--ink)", titleColor: "var(--ink)" };
  const lines = { domainColor: "var(--faint)", gridColor: "var(--rule)", tickColor: "var(--faint)" };
  const options = {
    actions: false,
    // Expressions are read, not compiled: no policy of a site that shows this page forbids that.
    ast: true,
    config: {
      background: "transparent",
      font: "system-ui, sans-serif",
      axis: { ...text, ...lines },
      header: text,
      legend: text,
      mark: { color: "var(--series-1)" },
      title: { color: "var(--ink)", subtitleColor: "var(--faint)" },
      view: { stroke: "var(--rule)" },
    },
    // What a specification does about what is missing is meant so; a reader could do nothing about it.
    logLevel: vega.Error,
    renderer: "svg",
    tooltip: { theme: "custom" },
  };
  const draw = async () => {
    document.getElementById("undrawn").remove();
    for (const [name, spec] of Object.entries(JSON.parse(specs.textContent))) {
      const place = document.querySelector(`[data-plot="${CSS.escape(name)}"]`);
      try {
        await vegaEmbed(place, spec, options);
        // Containers of marks that have no name of their own are no pictures to a screen reader.
        for (const each of place.querySelectorAll('svg [role="graphics-symbol"]:not([aria-label])')) {
          each.removeAttribute("role");
          each.removeAttribute("aria-roledescription");
        }
      } catch (error) {
        place.textContent = `This plot could not be drawn: ${error.message}`;
        place.classList.add("absent");
        console.error(error);
      }
    }
    drawn();
  };
  draw();
})();
