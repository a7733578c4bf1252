"use strict";
(() => {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const dark = matchMedia("screen and (prefers-color-scheme: dark)");
  const states = {};

  // Plotly reads a little HTML in its texts; names are from files, and are shown as they are.
  const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const lines = (text) => plain(text).replace(/\n/g, "<br>");
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

  function hints(series, y, variant) {
    return y.map((value, index) => {
      const head = lines(series.head[index] || "");
      if (value === null) return "";
      const middle = series.dots ? "" : `<br>${plain(variant)}${variant ? " " : ""}${shown(value)}`;
      const tail = series.tail[index] ? `<br>${lines(series.tail[index])}` : "";
      return head + middle + tail;
    });
  }

  // The runs of a kind and round are one line with gaps, which is far faster than a line each.
  function joined(series) {
    if (!series.runs) return series;
    const parts = (key) => series.runs.flatMap((run) => [...run[key], null]);
    const head = series.runs.flatMap((run) => [...run.epoch.map((epoch) => `${run.name}, epoch ${epoch}`), ""]);
    return { ...series, x: parts("x"), y: [parts("y")], head, tail: [] };
  }

  function line(chart, packed, state) {
    const series = joined(packed);
    const y = series.dots ? series.y : series.y[Math.min(state.variant, series.y.length - 1)];
    const variant = chart.variants[state.variant];
    const [light, night, dash, symbol] = series.look;
    const own = isDark() ? night : light;
    const gone = series.gone || [];
    const grouped = !state.group || !series.group || series.group === state.group;
    return {
      type: "scatter", x: series.x, y, name: plain(series.name), hoverinfo: "text",
      hovertext: hints(series, y, variant), connectgaps: false, showlegend: false,
      visible: grouped && !state.off.has(series.switch),
      line: { color: own, dash: series.thin ? "solid" : dash, width: series.thin ? 1 : series.faint ? 1.4 : 2.2 },
      marker: {
        color: own, opacity: 1, size: series.dots ? 6 : series.x.map((_, index) => (gone[index] ? 12 : 9)),
        symbol: series.dots ? symbol : series.x.map((_, index) => (gone[index] ? "x" : symbol)),
      },
      opacity: series.dots ? 0.4 : series.thin ? 0.75 : series.faint ? 0.8 : 1,
      mode: series.dots ? "markers" : series.flat || series.thin || series.faint ? "lines" : "lines+markers",
    };
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
    return [chart.series.map((series) => line(chart, series, state)), { xaxis: axis(x), yaxis: y, height: width < 600 ? 340 : 440 }];
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
    const trace = {
      type: "heatmap", x: group.x, y: names, z: group.z.map((row) => row.map(value)), xgap: 1, ygap: 1,
      zmin: logs ? -3 : 0, zmax: logs ? 0 : 1, hoverinfo: "text",
      hovertext: group.z.map((row, y) => row.map((_, x) => `${plain(group.y[y])}, ${plain(chart.x.title)} ${plain(group.x[x])}<br>${told(group, y, x)}`)),
      text: group.mark, texttemplate: "%{text}", textfont: { color: colour("ink"), size: 13 },
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
    const width = plot.clientWidth || 600;
    const [traces, layout] = chart.type === "heat" ? drawHeat(chart, state, width) : drawLines(chart, state, width);
    Object.assign(layout, {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: colour("ink"), family: "inherit" },
      margin: { l: 50, r: 10, t: 10, b: 45 }, hovermode: "closest", dragmode: width < 600 ? false : "zoom",
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
