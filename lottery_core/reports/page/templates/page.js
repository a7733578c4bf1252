"use strict";
(() => {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const dark = matchMedia("screen and (prefers-color-scheme: dark)");
  const states = {};

  // Plotly reads a little HTML in its texts; names are from files, and are shown as they are.
  const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const shown = (value) => (value === null ? "–" : Number(value.toPrecision(4)).toLocaleString("en", { maximumFractionDigits: 12 }));
  const short = (text, most) => (text.length <= most ? text : `${text.slice(0, most / 2 - 1)}…${text.slice(1 - most / 2)}`);

  function axis(more) {
    return {
      gridcolor: colour("line"), linecolor: colour("line"), zeroline: false, automargin: true,
      tickfont: { color: colour("muted") }, ...more,
      title: { text: plain(more.title || ""), font: { color: colour("muted"), size: 13 }, standoff: 10 },
    };
  }

  // Hints of a line: what and where, the value, each seed's score.
  function hints(series, y, variant) {
    return y.map((value, index) => {
      if (value === null) return "";
      const seeds = series.seeds ? series.seeds[index] : [];
      const told = seeds.slice(0, 12).map(([seed, score, gone]) => `<br>${plain(seed)}: ${shown(score)}${plain(gone)}`);
      const more = seeds.length > 12 ? `<br>and ${seeds.length - 12} more` : "";
      const tail = series.tail && series.tail[index] ? `<br>${plain(series.tail[index])}` : "";
      return `${plain(series.head[index])}<br>${plain(variant)} ${shown(value)}${told.join("")}${more}${tail}`;
    });
  }

  // The runs of a kind and round are one line with gaps, which is far faster than a line each.
  function joined(series) {
    const parts = (key) => series.runs.flatMap((run) => [...run[key], null]);
    const head = series.runs.flatMap((run) => [...run.epoch.map((epoch) => `${run.name}, epoch ${epoch}`), ""]);
    return { ...series, x: parts("x"), y: [parts("y")], head };
  }

  // A level that is not pruned has no place of its own: it is shown at every place, so that each has its hint.
  function level(chart, series) {
    const everywhere = (values) => chart.ticks.map(() => values[0]);
    const seeds = everywhere(series.seeds), head = everywhere(series.head);
    return { ...series, x: chart.ticks.map(([value]) => value), y: series.y.map(everywhere), seeds, head };
  }

  function line(chart, packed, state) {
    const series = packed.runs ? joined(packed) : packed.flat ? level(chart, packed) : packed;
    const y = series.y[Math.min(state.variant, series.y.length - 1)];
    const [light, night, dash, symbol] = series.look;
    const own = isDark() ? night : light;
    const marks = series.marks || [];
    const grouped = !state.group || !series.group || series.group === state.group;
    const common = {
      type: "scatter", name: plain(series.name), hoverinfo: "text", showlegend: false,
      visible: grouped && !state.off.has(series.switch), meta: series.switch,
    };
    const traces = [{
      ...common, x: series.x, y, hovertext: hints(series, y, chart.variants[state.variant]), connectgaps: false,
      line: { color: own, dash: series.runs ? "solid" : dash, width: series.runs ? 1 : series.faint ? 1.4 : 2.2 },
      marker: {
        color: own, opacity: 1, line: { width: 0 }, size: series.x.map((_, index) => (marks[index] ? 12 : 9)),
        symbol: series.x.map((_, index) => marks[index] || symbol),
      },
      opacity: series.runs ? 0.75 : series.faint ? 0.8 : 1,
      mode: series.flat || series.runs || series.faint ? "lines" : "lines+markers",
    }];
    if (series.seeds && series.seeds.some((seeds) => seeds.length > 1)) {
      const dots = packed.seeds.flatMap((seeds, index) => seeds.map((seed) => [packed.x[index], packed.head[index], ...seed]));
      traces.push({
        ...common, mode: "markers", opacity: 0.4, marker: { color: own, size: 6, symbol: packed.flat ? "circle" : symbol },
        x: dots.map((dot) => dot[0]), y: dots.map((dot) => dot[3]),
        hovertext: dots.map(([, head, seed, score, gone]) => `${plain(head)}<br>${plain(seed)}: ${shown(score)}${plain(gone)}`),
      });
    }
    return traces;
  }

  function ticks(all, width) {
    // From the right, so that the last round, the one people look for, always has its label.
    const logs = all.map(([value]) => Math.log10(value));
    const room = ((Math.max(...logs) - Math.min(...logs)) * 52) / Math.max(width - 90, 60);
    const chosen = [];
    for (let index = all.length - 1; index >= 0; index--) {
      if (!chosen.length || logs[index] - Math.log10(chosen[0][0]) >= room) chosen.unshift(all[index]);
    }
    return chosen;
  }

  function drawLines(chart, state, width) {
    const x = { title: width < 600 ? chart.x.title.replace(/ \(.*\)$/, "") : chart.x.title };
    if (chart.x.log) {
      const chosen = ticks(chart.ticks, width);
      const ends = chart.ticks.map(([value]) => Math.log10(value));
      const [low, high] = [Math.min(...ends), Math.max(...ends)];
      const pad = Math.max((high - low) * 0.03, 0.01);
      Object.assign(x, {
        type: "log", range: [high + pad, low - pad], tickmode: "array",
        tickvals: chosen.map(([value]) => value), ticktext: chosen.map(([, text]) => text),
      });
    }
    const y = axis({ title: short(chart.y.title, 60) });
    if (chart.y.range) y.range = chart.y.range;
    return [chart.series.flatMap((series) => line(chart, series, state)), { xaxis: axis(x), yaxis: y, height: width < 600 ? 340 : 440 }];
  }

  function told(group, y, x) {
    if (group.text) return plain(group.text[y][x]);
    const share = group.z[y][x];
    const seeds = group.seeds[x] > 1 ? `, mean of ${group.seeds[x]} seeds` : "";
    return `${shown(100 * share)}% of ${group.total[y].toLocaleString("en")}${seeds}`;
  }

  function drawHeat(chart, state, width) {
    const group = chart.groups[state.choice];
    const logs = chart.scale === "survivors";
    const value = (z) => (z === null ? null : logs ? Math.log10(Math.max(z, 1e-3)) : z);
    const most = width < 600 ? 20 : 44;
    const names = group.y.map(plain);
    const crosses = group.z.map((row) => row.map(() => ""));
    for (const [y, x] of group.gone || []) crosses[y][x] = "×";
    const trace = {
      type: "heatmap", x: group.x, y: names, z: group.z.map((row) => row.map(value)), xgap: 1, ygap: 1,
      zmin: logs ? -3 : 0, zmax: logs ? 0 : 1, hoverinfo: "text",
      hovertext: group.z.map((row, y) => row.map((_, x) => `${plain(group.y[y])}, ${plain(chart.x.title)} ${plain(group.x[x])}<br>${told(group, y, x)}`)),
      text: crosses, texttemplate: "%{text}", textfont: { color: colour("ink"), size: 13 },
      colorscale: [[0, colour("low")], [0.5, colour("middle")], [1, colour("high")]],
      colorbar: {
        thickness: 10, len: 1, outlinewidth: 0, tickfont: { color: colour("muted") },
        ...(logs ? { tickvals: [0, -1, -2, -3], ticktext: ["100%", "10%", "1%", "≤0.1%"] } : {}),
      },
    };
    const layout = {
      xaxis: axis({ title: chart.x.title, type: "category", showgrid: false, side: "bottom" }),
      yaxis: axis({
        title: chart.y.title, type: "category", autorange: "reversed", showgrid: false,
        tickmode: "array", tickvals: names, ticktext: group.y.map((name) => plain(short(name, most))),
      }),
      height: Math.min(Math.max(190, 21 * names.length + 90), 1800),
    };
    return [[trace], layout];
  }

  let printing = false;
  const isDark = () => dark.matches && !printing;

  function draw(id) {
    const plot = document.getElementById(id);
    const chart = charts[id], state = states[id];
    const width = printing ? 680 : plot.clientWidth || 600;  // 680 fits a sheet of A4 and of letter paper
    const [traces, layout] = chart.type === "heat" ? drawHeat(chart, state, width) : drawLines(chart, state, width);
    Object.assign(layout, {
      width, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: colour("ink"), family: "inherit" },
      margin: { l: 50, r: chart.type === "heat" ? 10 : 28, t: 10, b: 45 }, hovermode: "closest", dragmode: width < 600 ? false : "zoom",
      hoverlabel: { bgcolor: colour("soft"), bordercolor: colour("line"), font: { color: colour("ink") }, align: "left" },
    });
    return Plotly.react(plot, traces, layout, { displayModeBar: false, responsive: false });
  }

  for (const figure of document.querySelectorAll("figure[data-chart]")) {
    const id = figure.dataset.chart;
    const list = figure.querySelector("select");
    const state = (states[id] = { off: new Set(), variant: 0, choice: 0, group: "" });
    for (const button of figure.querySelectorAll(".legend button")) {
      button.addEventListener("click", () => {
        const on = button.getAttribute("aria-pressed") === "true";
        button.setAttribute("aria-pressed", String(!on));
        if (on) state.off.add(button.dataset.switch);
        else state.off.delete(button.dataset.switch);
        draw(id);
      });
    }
    for (const radio of figure.querySelectorAll("input[type=radio]")) {
      radio.addEventListener("change", () => {
        state.variant = Number(radio.value);
        draw(id);
      });
    }
    if (list) {
      list.addEventListener("change", () => {
        state.choice = Number(list.value);
        state.group = state.choice ? list.options[list.selectedIndex].text : "";
        draw(id);
      });
    }
    draw(id);
  }

  const drawAll = () => Object.keys(states).forEach(draw);
  dark.addEventListener("change", drawAll);
  let width = innerWidth, waiting = 0;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    clearTimeout(waiting);
    waiting = setTimeout(drawAll, 150);
  });
  let closed = [];
  addEventListener("beforeprint", () => {
    printing = true;
    closed = [...document.querySelectorAll("details:not([open])")];
    closed.forEach((details) => (details.open = true));
    drawAll();
  });
  addEventListener("afterprint", () => {
    printing = false;
    closed.forEach((details) => (details.open = false));
    drawAll();
  });
  document.documentElement.dataset.ready = "true";
})();
