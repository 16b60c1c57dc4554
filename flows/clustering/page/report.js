(() => {
  "use strict";

  const NO_CLUSTER = 65535;
  const SIDE = 65535;
  const GRID = 256;
  const CIRCLES_BELOW = 2500;
  const LABELS = 14;
  const REACH = 12;

  const byId = (id) => document.getElementById(id);
  const canvas = byId("map");
  const context = canvas.getContext("2d");
  const picked = byId("picked");
  const highlight = byId("highlight");
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const clusters = JSON.parse(byId("clusters-data").textContent);

  let map = null;
  let view = { x: 0.5, y: 0.5, scale: 1 };
  let only = "";
  let hovered = -1;
  let chosen = -1;
  let waiting = false;

  const numbers = (text, Type) => {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const width = Type.BYTES_PER_ELEMENT;
    const view = new DataView(bytes.buffer);
    const found = new Type(bytes.length / width);
    for (let i = 0; i < found.length; i += 1) {
      found[i] = width === 2 ? view.getUint16(2 * i, true) : view.getUint32(4 * i, true);
    }
    return found;
  };

  const unpack = async (text) => {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  };

  const prepare = (content) => {
    const places = numbers(content.places, Uint16Array);
    const count = content.points;
    const x = new Float32Array(count);
    const y = new Float32Array(count);
    const cells = new Uint32Array(GRID * GRID + 1);
    const cellOf = new Uint32Array(count);
    for (let i = 0; i < count; i += 1) {
      x[i] = places[2 * i] / SIDE;
      y[i] = 1 - places[2 * i + 1] / SIDE;
      cellOf[i] = cell(x[i], y[i]);
      cells[cellOf[i] + 1] += 1;
    }
    for (let i = 0; i < GRID * GRID; i += 1) cells[i + 1] += cells[i];
    const next = cells.slice(0, -1);
    const sorted = new Uint32Array(count);
    for (let i = 0; i < count; i += 1) {
      sorted[next[cellOf[i]]] = i;
      next[cellOf[i]] += 1;
    }
    const labels = numbers(content.labels, Uint16Array);
    const middles = clusters.map(() => [0, 0, 0]);
    for (let i = 0; i < count; i += 1) {
      const middle = middles[labels[i]];
      if (middle) { middle[0] += x[i]; middle[1] += y[i]; middle[2] += 1; }
    }
    return {
      count, x, y, cells, sorted, labels, middles,
      documents: numbers(content.documents, Uint32Array),
      starts: numbers(content.starts, Uint32Array),
      titles: content.titles, sources: content.sources, links: content.links,
      step: stride(count),
    };
  };

  const cell = (x, y) =>
    Math.min(GRID - 1, Math.floor(y * GRID)) * GRID + Math.min(GRID - 1, Math.floor(x * GRID));

  // A step that visits every point once in a scattered order: no cluster covers another wholly.
  const stride = (count) => {
    const common = (a, b) => (b ? common(b, a % b) : a);
    let step = Math.max(1, Math.floor(count * 0.618));
    while (common(step, count) !== 1) step += 1;
    return step;
  };

  const colour = (label, alpha) => {
    if (label === NO_CLUSTER || clusters[label].unstable) {
      return dark.matches ? `hsla(215, 12%, 55%, ${alpha})` : `hsla(215, 10%, 60%, ${alpha})`;
    }
    const light = dark.matches ? 62 : 45;
    return `hsla(${clusters[label].hue}, 60%, ${light}%, ${alpha})`;
  };

  const packedColours = (alpha) => {
    const probe = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    probe.canvas.width = 1;
    probe.canvas.height = 1;
    const one = (label) => {
      probe.clearRect(0, 0, 1, 1);
      probe.fillStyle = colour(label, 1);
      probe.fillRect(0, 0, 1, 1);
      const [r, g, b] = probe.getImageData(0, 0, 1, 1).data;
      const bytes = new Uint8Array([r, g, b, Math.round(255 * alpha)]);
      return new Uint32Array(bytes.buffer)[0];
    };
    const found = clusters.map((_, label) => one(label));
    found[NO_CLUSTER] = one(NO_CLUSTER);
    return found;
  };
  let full = null;
  let faint = null;

  const size = () => {
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    const width = Math.max(1, Math.round(canvas.clientWidth * ratio));
    const height = Math.max(1, Math.round(canvas.clientHeight * ratio));
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
    }
    return { width, height, ratio, unit: 0.94 * Math.min(width, height) * view.scale };
  };

  const shown = (label) =>
    only === "" || (only === "none" ? label === NO_CLUSTER : label === Number(only));

  const draw = () => {
    waiting = false;
    if (!map) return;
    const { width, height, ratio, unit } = size();
    const left = width / 2 - view.x * unit;
    const top = height / 2 - view.y * unit;
    full = full || packedColours(1);
    faint = faint || packedColours(0.14);
    let visible = 0;
    for (let i = 0; i < map.count && visible <= CIRCLES_BELOW; i += 1) {
      const px = left + map.x[i] * unit;
      const py = top + map.y[i] * unit;
      if (px >= 0 && py >= 0 && px < width && py < height) visible += 1;
    }
    context.clearRect(0, 0, width, height);
    if (visible <= CIRCLES_BELOW) circles(left, top, unit, width, height, ratio);
    else pixels(left, top, unit, width, height, ratio);
    marks(left, top, unit, width, height, ratio);
  };

  // Many points: straight into the picture, which takes a few milliseconds for 100,000.
  const pixels = (left, top, unit, width, height, ratio) => {
    const image = context.createImageData(width, height);
    const buffer = new Uint32Array(image.data.buffer);
    const side = Math.max(1, Math.round(ratio * (map.count > 30000 && view.scale < 3 ? 1.6 : 2.6)));
    for (const wanted of only === "" ? [true] : [false, true]) {
      const table = wanted ? full : faint;
      for (let j = 0, i = 0; j < map.count; j += 1, i = (i + map.step) % map.count) {
        const label = map.labels[i];
        if (only !== "" && shown(label) !== wanted) continue;
        const px = Math.round(left + map.x[i] * unit - side / 2);
        const py = Math.round(top + map.y[i] * unit - side / 2);
        if (px < 0 || py < 0 || px + side > width || py + side > height) continue;
        for (let v = py; v < py + side; v += 1) {
          buffer.fill(table[label], v * width + px, v * width + px + side);
        }
      }
    }
    context.putImageData(image, 0, 0);
  };

  const circles = (left, top, unit, width, height, ratio) => {
    const radius = (map.count < 400 ? 5 : 3.5) * ratio;
    for (const wanted of only === "" ? [true] : [false, true]) {
      for (let j = 0, i = 0; j < map.count; j += 1, i = (i + map.step) % map.count) {
        const label = map.labels[i];
        if (only !== "" && shown(label) !== wanted) continue;
        const px = left + map.x[i] * unit;
        const py = top + map.y[i] * unit;
        if (px < -radius || py < -radius || px > width + radius || py > height + radius) continue;
        context.fillStyle = colour(label, wanted ? 0.85 : 0.12);
        context.beginPath();
        context.arc(px, py, radius, 0, 2 * Math.PI);
        context.fill();
      }
    }
  };

  const marks = (left, top, unit, width, height, ratio) => {
    const ink = dark.matches ? "#e7ebf1" : "#1b2330";
    const halo = dark.matches ? "#11151b" : "#f6f7f9";
    context.font = `600 ${12 * ratio}px system-ui, "DejaVu Sans", sans-serif`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.lineJoin = "round";
    const taken = [];
    let written = 0;
    for (let label = 0; label < clusters.length && written < LABELS; label += 1) {
      const [sumX, sumY, count] = map.middles[label];
      if (!count || !shown(label)) continue;
      const name = clusters[label].name;
      const text = name.length > 28 ? `${name.slice(0, 27)}…` : name;
      const half = context.measureText(text).width / 2 + 4 * ratio;
      let px = left + (sumX / count) * unit;
      const py = top + (sumY / count) * unit;
      if (px < 0 || px > width || py < 0 || py > height) continue;
      px = Math.min(Math.max(px, half), width - half);
      const box = [px - half, py - 9 * ratio, px + half, py + 9 * ratio];
      if (taken.some((o) => box[0] < o[2] && o[0] < box[2] && box[1] < o[3] && o[1] < box[3])) {
        continue;
      }
      taken.push(box);
      written += 1;
      context.lineWidth = 4 * ratio;
      context.strokeStyle = halo;
      context.strokeText(text, px, py);
      context.fillStyle = ink;
      context.fillText(text, px, py);
    }
    for (const point of [chosen, hovered]) {
      if (point < 0) continue;
      context.strokeStyle = ink;
      context.lineWidth = 2 * ratio;
      context.beginPath();
      context.arc(left + map.x[point] * unit, top + map.y[point] * unit, 7 * ratio, 0, 2 * Math.PI);
      context.stroke();
    }
    if (document.activeElement === canvas) {
      context.strokeStyle = ink;
      context.lineWidth = ratio;
      context.beginPath();
      context.moveTo(width / 2 - 8 * ratio, height / 2);
      context.lineTo(width / 2 + 8 * ratio, height / 2);
      context.moveTo(width / 2, height / 2 - 8 * ratio);
      context.lineTo(width / 2, height / 2 + 8 * ratio);
      context.stroke();
    }
  };

  const redraw = () => {
    if (!waiting) {
      waiting = true;
      window.requestAnimationFrame(draw);
    }
  };

  // From a place in the picture (CSS pixels) to a place on the map, 0 to 1.
  const placeAt = (px, py) => {
    const { width, height, ratio, unit } = size();
    return [view.x + (px * ratio - width / 2) / unit, view.y + (py * ratio - height / 2) / unit];
  };

  const nearest = (px, py, reach) => {
    const { ratio, unit } = size();
    const [x, y] = placeAt(px, py);
    const far = (reach * ratio) / unit;
    const clamp = (value) => Math.min(GRID - 1, Math.max(0, Math.floor(value * GRID)));
    let best = -1;
    let least = far * far;
    for (let row = clamp(y - far); row <= clamp(y + far); row += 1) {
      for (let column = clamp(x - far); column <= clamp(x + far); column += 1) {
        const at = row * GRID + column;
        for (let s = map.cells[at]; s < map.cells[at + 1]; s += 1) {
          const i = map.sorted[s];
          if (!shown(map.labels[i])) continue;
          const distance = (map.x[i] - x) ** 2 + (map.y[i] - y) ** 2;
          if (distance < least) { least = distance; best = i; }
        }
      }
    }
    return best;
  };

  const tell = (point) => {
    picked.replaceChildren();
    if (point < 0) {
      picked.textContent = "Point at a dot to see its document.";
      return;
    }
    const document_ = map.documents[point];
    const label = map.labels[point];
    const title = document.createElement("strong");
    title.textContent = map.titles[document_];
    const source = map.sources[document_];
    const link = map.links[document_];
    let place = document.createElement("span");
    if (/^(https?:\/\/|file:\/\/\/)/.test(link)) {
      place = document.createElement("a");
      place.href = link;
      place.rel = "noreferrer";
    }
    place.textContent = source;
    const at = document.createElement("span");
    at.className = "soft";
    at.textContent = `, from character ${map.starts[point].toLocaleString("en")}`;
    const cluster = document.createElement(label === NO_CLUSTER ? "span" : "a");
    cluster.textContent = label === NO_CLUSTER ? "Outlier, in no cluster" : clusters[label].name;
    if (label !== NO_CLUSTER) cluster.href = `#c-${clusters[label].id}`;
    picked.append(title, document.createElement("br"), place, at,
      document.createElement("br"), cluster);
  };

  const zoom = (factor, px, py) => {
    const [x, y] = placeAt(px, py);
    view.scale = Math.min(400, Math.max(0.5, view.scale * factor));
    const [after, below] = placeAt(px, py);
    view.x += x - after;
    view.y += y - below;
    redraw();
  };

  const middle = () => [canvas.clientWidth / 2, canvas.clientHeight / 2];

  const move = (dx, dy) => {
    const { ratio, unit } = size();
    view.x = Math.min(1.2, Math.max(-0.2, view.x - (dx * ratio) / unit));
    view.y = Math.min(1.2, Math.max(-0.2, view.y - (dy * ratio) / unit));
    redraw();
  };

  const reset = () => {
    view = { x: 0.5, y: 0.5, scale: 1 };
    redraw();
  };

  const choose = (point) => {
    chosen = point;
    tell(point);
    redraw();
  };

  const show = (value) => {
    only = value;
    highlight.value = value;
    chosen = -1;
    tell(-1);
    redraw();
  };

  const pointers = new Map();
  let dragged = 0;
  const spread = () => {
    const [a, b] = [...pointers.values()];
    return [Math.hypot(a.x - b.x, a.y - b.y), (a.x + b.x) / 2, (a.y + b.y) / 2];
  };
  canvas.addEventListener("pointerdown", (event) => {
    pointers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
    dragged = 0;
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!map) return;
    const before = pointers.get(event.pointerId);
    const now = { x: event.offsetX, y: event.offsetY };
    if (!before) {
      const point = nearest(now.x, now.y, REACH);
      if (point !== hovered) {
        hovered = point;
        if (chosen < 0) tell(point);
        redraw();
      }
      return;
    }
    const wide = pointers.size === 2 ? spread() : null;
    pointers.set(event.pointerId, now);
    dragged += Math.abs(now.x - before.x) + Math.abs(now.y - before.y);
    if (wide) {
      const [length, x, y] = spread();
      zoom(length / Math.max(1, wide[0]), x, y);
    } else if (pointers.size === 1) {
      move(now.x - before.x, now.y - before.y);
    }
  });
  canvas.addEventListener("pointerup", (event) => {
    pointers.delete(event.pointerId);
    if (map && dragged < 5) choose(nearest(event.offsetX, event.offsetY, REACH));
  });
  canvas.addEventListener("pointercancel", (event) => pointers.delete(event.pointerId));
  canvas.addEventListener("pointerleave", () => {
    hovered = -1;
    if (map && chosen < 0) tell(-1);
    redraw();
  });
  // A wheel scrolls the page, unless the map was chosen: nobody is to get stuck in it.
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey && document.activeElement !== canvas) return;
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 400), event.offsetX, event.offsetY);
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const step = 60;
    const actions = {
      ArrowLeft: () => move(step, 0),
      ArrowRight: () => move(-step, 0),
      ArrowUp: () => move(0, step),
      ArrowDown: () => move(0, -step),
      "+": () => zoom(1.5, ...middle()),
      "=": () => zoom(1.5, ...middle()),
      "-": () => zoom(1 / 1.5, ...middle()),
      0: reset,
      Enter: () => choose(nearest(...middle(), 80)),
      Escape: () => choose(-1),
    };
    if (map && actions[event.key] && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      actions[event.key]();
    }
  });
  canvas.addEventListener("focus", redraw);
  canvas.addEventListener("blur", redraw);
  byId("zoom-in").addEventListener("click", () => zoom(1.5, ...middle()));
  byId("zoom-out").addEventListener("click", () => zoom(1 / 1.5, ...middle()));
  byId("zoom-reset").addEventListener("click", reset);
  highlight.addEventListener("change", () => show(highlight.value));
  for (const button of document.querySelectorAll("button[data-label]")) {
    button.addEventListener("click", () => {
      reset();
      show(button.dataset.label);
      byId("map-section").scrollIntoView();
      canvas.focus({ preventScroll: true });
    });
  }
  new ResizeObserver(redraw).observe(canvas);
  dark.addEventListener("change", () => {
    full = null;
    faint = null;
    redraw();
  });

  const filter = byId("filter");
  const cards = [...document.querySelectorAll(".card")];
  const words = cards.map((card) => card.textContent.toLowerCase());
  filter.addEventListener("input", () => {
    const wanted = filter.value.trim().toLowerCase().split(/\s+/);
    let left = 0;
    cards.forEach((card, i) => {
      card.hidden = !wanted.every((word) => words[i].includes(word));
      left += card.hidden ? 0 : 1;
    });
    byId("filtered").textContent = `${left} of ${cards.length}`;
  });

  for (const part of document.querySelectorAll("[data-script]")) part.hidden = false;
  unpack(byId("map-data").textContent).then((content) => {
    map = prepare(content);
    byId("map-data").remove();
    tell(-1);
    draw();
    document.documentElement.dataset.map = "drawn";
  }).catch(() => {
    picked.textContent = "The map cannot be drawn by this browser; the rest of the page is whole.";
    document.documentElement.dataset.map = "failed";
  });
})();
