"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const SVG = "http://www.w3.org/2000/svg";

  /* The table of sentences: search, sorting, and a part of it at a time. */
  const table = $("table");
  if (table) {
    const STEP = 25;
    const body = table.tBodies[0], rows = [...body.rows], heads = [...table.tHead.rows[0].cells];
    const texts = rows.map((row) => row.textContent.toLowerCase().normalize("NFC"));
    const order = new Map(rows.map((row, place) => [row, place]));
    let shown = STEP;

    const update = () => {
      const words = $("search").value.toLowerCase().normalize("NFC").trim();
      let found = 0;
      for (const row of body.rows) {
        const hit = texts[order.get(row)].includes(words);
        found += hit;
        row.hidden = !hit || found > shown;
      }
      const visible = Math.min(found, shown);
      $("found").textContent = `${visible} of ${found}` + (words ? " found" : "");
      $("more").hidden = found <= shown;
      highlight(words);
    };
    const highlight = (words) => {
      if (!window.Highlight) return;
      const ranges = [];
      for (const row of words ? body.rows : []) {
        for (const cell of row.hidden ? [] : row.cells) {
          const text = cell.textContent.toLowerCase(), node = cell.firstChild;
          if (!node || text.length !== node.length) continue;
          for (let at = text.indexOf(words); at >= 0; at = text.indexOf(words, at + words.length)) {
            const range = new Range();
            range.setStart(node, at);
            range.setEnd(node, at + words.length);
            ranges.push(range);
          }
        }
      }
      CSS.highlights.set("found", new Highlight(...ranges));
    };
    const KEYS = {
      number: (cell) => parseFloat(cell.textContent),
      length: (cell) => cell.textContent.length,
      text: (cell) => cell.textContent.trim(),
    };
    const sort = (kind, column, way) => {
      const compare = kind === "text" ? new Intl.Collator().compare : (a, b) => a - b;
      const keyed = rows.map((row, place) => [KEYS[kind](row.cells[column]), place, row]);
      keyed.sort((a, b) => way * compare(a[0], b[0]) || a[1] - b[1]);
      body.append(...keyed.map((each) => each[2]));
      heads.forEach((head, place) => {
        if (place === column && kind !== "length") head.setAttribute("aria-sort", way > 0 ? "ascending" : "descending");
        else head.removeAttribute("aria-sort");
      });
      shown = STEP;
      update();
    };
    heads.forEach((head, column) => {
      head.querySelector("button").addEventListener("click", () => {
        const kind = head.classList.contains("n") ? "number" : "text";
        const way = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
        const same = [...$("sort").options].findIndex((each) => each.value === `${kind} ${column} ${way}`);
        $("sort").selectedIndex = same;
        sort(kind, column, way);
      });
    });
    $("sort").addEventListener("change", () => {
      const [kind, column, way] = $("sort").value.split(" ");
      sort(kind, +column, +way);
    });
    $("search").addEventListener("input", () => { shown = STEP; update(); });
    $("more").addEventListener("click", () => { shown += 4 * STEP; update(); });
    $("tools").hidden = false;
    heads[0].setAttribute("aria-sort", "ascending");
    update();
  }

  /* The attention of each layer and head. */
  const source = $("attention-data");
  if (source) {
    const runs = JSON.parse(source.textContent), map = $("map");
    const CELL = 18, MEAN = -1;
    let now = null, layer = MEAN, head = MEAN, cursor = null;

    const decode = (packed) => {
      const bytes = Uint8Array.from(atob(packed.data), (letter) => letter.charCodeAt(0));
      const [layers, heads, rows, columns] = packed.shape;
      const size = rows * columns;
      const plane = (l, h) => {
        const sum = new Float32Array(size);
        const ls = l < 0 ? [...Array(layers).keys()] : [l], hs = h < 0 ? [...Array(heads).keys()] : [h];
        for (const i of ls) for (const j of hs) {
          const start = (i * heads + j) * size;
          for (let k = 0; k < size; k++) sum[k] += bytes[start + k] / 255 / ls.length / hs.length;
        }
        return sum;
      };
      return { layers, heads, rows, columns, plane };
    };
    const element = (name, attributes, text) => {
      const made = document.createElementNS(SVG, name);
      for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
      if (text === undefined) return made;
      if (text.startsWith("▁") && text.length > 1) {
        const blank = element("tspan", { class: "blank" });
        blank.textContent = "▁";
        made.append(blank, text.slice(1));
      } else made.textContent = text;
      return made;
    };
    const kind = () => document.querySelector("input[name=kind]:checked").value;
    const current = () => {
      const [run, place] = $("which").value.split(" ");
      return runs[run][place];
    };
    const sides = (each) => ({
      cross: [each.target, each.source],
      encoder: [each.source, each.source],
      decoder: [["<s>", ...each.target.slice(0, -1)], ["<s>", ...each.target.slice(0, -1)]],
    })[kind()];
    const named = (l, h) => l < 0 ? "mean of all layers and heads"
      : h < 0 ? `layer ${l + 1}, mean of its heads` : `layer ${l + 1}, head ${h + 1}`;

    const drawMap = () => {
      const [rows, columns] = sides(current()), weights = now.plane(layer, head);
      const longest = (pieces) => Math.max(...pieces.map((piece) => [...piece].length));
      const left = 12 + 7.6 * longest(rows), top = 16 + 6.6 * longest(columns);
      map.replaceChildren();
      const width = left + columns.length * CELL + 5 * longest(columns.slice(-6)), height = top + rows.length * CELL + 4;
      map.setAttribute("viewBox", `0 0 ${width} ${height}`);
      map.setAttribute("width", width);
      map.setAttribute("height", height);
      map.setAttribute("aria-label", `Attention, ${named(layer, head)}. Use the arrow keys to read values.`);
      map.append(element("rect", { x: left, y: top, width: columns.length * CELL, height: rows.length * CELL, class: "frame" }));
      columns.forEach((piece, place) => map.append(element(
        "text", { transform: `translate(${left + place * CELL + 12} ${top - 5}) rotate(-60)` }, piece)));
      rows.forEach((piece, place) => map.append(element(
        "text", { x: left - 5, y: top + place * CELL + 13, "text-anchor": "end" }, piece)));
      weights.forEach((weight, place) => {
        if (weight < 0.004) return;
        const row = Math.floor(place / columns.length), column = place % columns.length;
        map.append(element("rect", {
          x: left + column * CELL, y: top + row * CELL, width: CELL - 1, height: CELL - 1, "fill-opacity": weight.toFixed(3),
        }));
      });
      map.append(element("rect", { class: "at-cell", width: CELL, height: CELL, visibility: "hidden" }));
      Object.assign(map, { geometry: { left, top, rows, columns, weights, width } });
      cursor = null;
      $("value").textContent = named(layer, head);
    };
    const point = (row, column) => {
      const { left, top, rows, columns, weights } = map.geometry;
      if (row < 0 || column < 0 || row >= rows.length || column >= columns.length) return;
      cursor = [row, column];
      const box = map.querySelector(".at-cell");
      box.setAttribute("x", left + column * CELL - 0.5);
      box.setAttribute("y", top + row * CELL - 0.5);
      box.setAttribute("visibility", "visible");
      const weight = weights[row * columns.length + column];
      $("value").textContent = `${named(layer, head)}: ${rows[row]} → ${columns[column]}: ${weight.toFixed(2)}`;
    };
    map.addEventListener("pointermove", (event) => {
      const box = map.getBoundingClientRect(), scale = map.geometry.width / box.width;
      const x = (event.clientX - box.left) * scale - map.geometry.left;
      const y = (event.clientY - box.top) * scale - map.geometry.top;
      point(Math.floor(y / CELL), Math.floor(x / CELL));
    });
    map.addEventListener("keydown", (event) => {
      const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (!move) return;
      event.preventDefault();
      if (cursor) point(cursor[0] + move[0], cursor[1] + move[1]);
      else point(0, 0);
    });

    const drawHeads = () => {
      const box = $("heads"), color = getComputedStyle(document.documentElement).getPropertyValue("--c0").trim();
      box.replaceChildren();
      box.style.gridTemplateColumns = `repeat(${now.heads + 1}, max-content)`;
      const size = Math.max(34, Math.min(64, Math.floor(300 / (now.heads + 1)) - 6));
      const one = (l, h) => {
        const button = document.createElement("button"), canvas = document.createElement("canvas");
        button.type = "button";
        button.setAttribute("aria-label", named(l, h));
        button.title = named(l, h);
        button.setAttribute("aria-pressed", l === layer && h === head);
        canvas.style.width = canvas.style.height = `${size}px`;
        canvas.width = now.columns;
        canvas.height = now.rows;
        const pen = canvas.getContext("2d");
        pen.fillStyle = color;
        now.plane(l, h).forEach((weight, place) => {
          pen.globalAlpha = Math.min(1, weight * 1.5);
          pen.fillRect(place % now.columns, Math.floor(place / now.columns), 1, 1);
        });
        button.append(canvas);
        button.addEventListener("click", () => {
          [layer, head] = [l, h];
          for (const each of box.children) each.setAttribute("aria-pressed", each === button);
          drawMap();
        });
        box.append(button);
      };
      for (let l = 0; l < now.layers; l++) for (let h = MEAN; h < now.heads; h++) one(l, h);
      const all = document.createElement("button");
      all.type = "button";
      all.id = "all";
      all.className = "more";
      all.textContent = "mean of all";
      all.setAttribute("aria-pressed", layer < 0);
      all.addEventListener("click", () => {
        layer = head = MEAN;
        for (const each of box.children) each.setAttribute("aria-pressed", each === all);
        drawMap();
      });
      box.prepend(all);
    };
    const change = () => {
      now = decode(current()[kind()]);
      if (layer >= now.layers || head >= now.heads) layer = head = MEAN;
      drawHeads();
      drawMap();
    };
    $("which").addEventListener("change", change);
    for (const radio of document.querySelectorAll("input[name=kind]")) radio.addEventListener("change", change);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", change);
    $("explorer").hidden = false;
    change();
  }

  /* What is folded is printed too. */
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    for (const each of folded) each.open = true;
  });
  addEventListener("afterprint", () => { for (const each of folded) each.open = false; });
})();
