// The page for operators. It fetches /state, which contains the series of the last hour
// under the names of the metrics, and redraws them every ten seconds.
import { bar, chart, element } from "./chart.js";

const every = 10_000;
const $ = (id) => document.getElementById(id);

// The latest response, with the points of earlier responses prepended.
let state = { samples: 0, step: 10, series: [] };

const key = (series) => JSON.stringify([series.name, series.labels ?? {}]);

// merge appends the points of a response to the known ones.
function merge(next) {
  const restarted = next.samples < state.samples || next.started !== state.started;
  const known = new Map(restarted ? [] : state.series.map((series) => [key(series), series.points]));
  const fresh = next.samples - (restarted ? 0 : state.samples);
  const most = 3600 / next.step;
  const length = Math.min(next.samples, most);
  for (const series of next.series) {
    const before = known.get(key(series)) ?? [];
    const points = series.points ?? new Array(Math.min(fresh, most)).fill(0);
    series.points = before.concat(points).slice(-length);
    while (series.points.length < length) series.points.unshift(0);
  }
  state = next;
}

const all = (name, labels = {}) => state.series.filter((series) =>
  series.name === name && Object.entries(labels).every(([label, value]) => series.labels?.[label] === value));
const first = (name, labels) => all(name, labels)[0];
const has = (name) => state.series.some((series) => series.name === name);
const value = (name, labels) => first(name, labels)?.value ?? 0;
const total = (name, labels) => all(name, labels).reduce((sum, series) => sum + series.value, 0);
const points = (name, labels) => first(name, labels)?.points ?? [];
const rate = (series, seconds = 1) => series.map((added) => added / state.step * seconds);
const sum = (lists) => lists.length === 0 ? [] : lists[0].map((_, i) => lists.reduce((n, list) => n + list[i], 0));
const hour = (list) => list.reduce((n, added) => n + added, 0);
const last = (list) => list.at(-1) ?? 0;

// Formatting of values.
const count = (n) => n >= 1e6 ? `${trim(n / 1e6)} M` : n >= 10_000 ? `${trim(n / 1e3)} k` : trim(n);
const trim = (n) => n >= 100 || Number.isInteger(n) ? Math.round(n).toLocaleString("en") : n >= 10 ? n.toFixed(1) : n.toFixed(n >= 1 ? 1 : 2).replace(/\.?0+$/, "") || "0";
const perSecond = (n) => `${count(n)}/s`;
const perMinute = (n) => `${count(n)}/min`;
function seconds(s) {
  if (s === 0) return "–";
  if (s < 0.001) return `${Math.round(s * 1e6)} µs`;
  if (s < 1) return `${s < 0.01 ? (s * 1e3).toFixed(1) : Math.round(s * 1e3)} ms`;
  return s < 60 ? `${trim(s)} s` : duration(s);
}
function bytes(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  for (; n >= 1024 && unit < units.length - 1; unit++) n /= 1024;
  return `${trim(n)} ${units[unit]}`;
}
function duration(s) {
  const of = (n, unit) => `${n} ${unit}${n === 1 ? "" : "s"}`;
  if (s < 60) return of(Math.max(0, Math.round(s)), "second");
  if (s < 3600) return of(Math.round(s / 60), "minute");
  if (s < 2 * 86400) return of(Math.round(s / 3600), "hour");
  return of(Math.floor(s / 86400), "day");
}
const times = (i, length) => {
  const ago = (length - 1 - i) * state.step;
  return ago < 60 ? `${ago} s ago` : `${Math.round(ago / 60)} min ago`;
};

const transportNames = { "long-poll": "long polls", stream: "streams", socket: "sockets", peerjs: "PeerJS" };
const colors = ["a", "b", "c", "d", "e"];

function card(title, note, ...content) {
  const p = note ? [element("p", { textContent: note })] : [];
  return element("section", {}, element("h2", { textContent: title }), ...p, ...content);
}

function table(rows) {
  const t = element("table");
  for (const [name, text, mood = ""] of rows) {
    t.insertRow().append(element("td", { textContent: name }), element("td", { textContent: text, className: mood }));
  }
  return t;
}

// level shows how much of a limit is used. A limit of 0 means no limit.
function level(name, used, limit, write = bytes) {
  const part = limit > 0 ? used / limit : 0;
  const mood = part > 0.9 ? "bad" : part > 0.75 ? "warn" : "";
  const text = limit > 0 ? `${write(used)} of ${write(limit)}` : `${write(used)}, no limit`;
  const head = element("p", {}, element("span", { textContent: name }), element("span", { textContent: text }));
  return element("div", { className: `meter ${mood}` }, head, bar(part));
}

function peers() {
  const lines = all("inbox_receivers").map((series, i) => ({
    name: transportNames[series.labels.transport] ?? series.labels.transport, color: colors[i], points: series.points,
  }));
  return card("Peers waiting", "Receivers connected to this server, by transport.", chart({ title: "Peers waiting", lines, format: count, times, floor: 4 }));
}

function messages() {
  const lines = [
    { name: "accepted", color: "a", points: rate(points("inbox_messages_accepted_total")) },
    { name: "acknowledged", color: "b", points: rate(points("inbox_delivery_seconds_count")) },
  ];
  return card("Messages", "Per second.", chart({ title: "Messages", lines, format: perSecond, times, floor: 1 }));
}

function delivery() {
  const lines = [
    { name: "median", color: "a", points: points("inbox_delivery_seconds_p50") },
    { name: "99th percentile", color: "c", points: points("inbox_delivery_seconds_p99") },
  ];
  return card("Delivery time", "Time from acceptance to acknowledgement.", chart({ title: "Delivery time", lines, format: seconds, times, floor: 0.01 }));
}

function refusals() {
  const reasons = all("inbox_refused_total").filter((series) => series.labels.reason !== "no-such-inbox");
  const refused = rate(sum(reasons.map((series) => series.points)), 60);
  const rows = reasons.map((series) => [series.labels.reason, hour(series.points)]).filter(([, n]) => n > 0)
    .sort((a, b) => b[1] - a[1]).slice(0, 6).map(([reason, n]) => [state.reasons[reason] ?? reason, count(n)]);
  const lines = [{ name: "refused", color: "b", points: refused }];
  const note = rows.length > 0 ? "Per minute. The table lists the reasons of the last hour." : "Per minute. Nothing was refused in the last hour.";
  return card("Refusals", note, chart({ title: "Refusals", lines, format: perMinute, times, floor: 6 }), ...(rows.length > 0 ? [table(rows)] : []));
}

function memory() {
  const levels = [];
  if (has("inbox_memory_bytes")) {
    levels.push(level("Inboxes and messages", value("inbox_memory_bytes"), value("inbox_memory_limit_bytes")));
    levels.push(level("Number of inboxes", value("inbox_inboxes"), value("inbox_inboxes_limit"), count));
  }
  levels.push(level("Data in flight", value("inbox_in_flight_bytes"), value("inbox_in_flight_limit_bytes")));
  if (has("inbox_peerjs_held_bytes")) levels.push(level("Messages for absent PeerJS peers", value("inbox_peerjs_held_bytes"), value("inbox_peerjs_held_limit_bytes")));
  levels.push(level("Whole process", value("inbox_process_memory_bytes"), value("inbox_process_memory_limit_bytes")));
  const lines = [{ name: "whole process", color: "a", points: points("inbox_process_memory_bytes") }];
  return card("Memory", "Current use and limits.", ...levels, chart({ title: "Memory", lines, format: bytes, times, floor: 1 << 24, base: 2 }));
}

function connections() {
  const lines = [
    { name: "open", color: "a", points: points("inbox_connections") },
    { name: "waiting", color: "b", points: points("inbox_connections_parked") },
  ];
  const failed = all("inbox_requests_total").filter((series) => series.labels.code >= "500").map((series) => series.points);
  const rows = [
    ["requests", perSecond(last(rate(sum(all("inbox_requests_total").map((series) => series.points)))))],
    ["5xx responses in the last hour", count(hour(sum(failed)))],
    ["store errors in the last hour", count(hour(sum(all("inbox_store_errors_total").map((series) => series.points))))],
  ];
  return card("Connections", "", chart({ title: "Connections", lines, format: count, times, floor: 4 }), table(rows));
}

function redis() {
  if (!has("inbox_redis_parts")) return null;
  const lines = [
    { name: "median", color: "a", points: points("inbox_redis_round_trip_seconds_p50") },
    { name: "99th percentile", color: "c", points: points("inbox_redis_round_trip_seconds_p99") },
  ];
  const down = value("inbox_redis_parts_down");
  const rows = [
    ["round trips", perSecond(last(rate(points("inbox_redis_round_trip_seconds_count"))))],
    ["failovers", count(value("inbox_redis_failovers_total"))],
    ["receivers told that their inbox is new (resets)", count(value("inbox_resets_total"))],
    ["parts unavailable", `${count(down)} of ${count(value("inbox_redis_parts"))}`, down > 0 ? "bad" : ""],
  ];
  return card("Redis", "Round-trip time.", chart({ title: "Redis", lines, format: seconds, times, floor: 0.001 }), table(rows),
    level("Memory of Redis, all primaries", value("inbox_redis_memory_bytes"), value("inbox_redis_memory_limit_bytes")));
}

function certificates() {
  const expiries = all("inbox_certificate_expiry_timestamp_seconds");
  if (expiries.length === 0) return null;
  const rows = expiries.map((series) => {
    const name = `certificate ${series.labels.certificate}`;
    const failed = value("inbox_certificate_failed_timestamp_seconds", series.labels);
    const left = series.value - state.now;
    if (series.value === 0) return [name, failed > 0 ? "not issued yet: see the log" : "not issued yet", failed > 0 ? "bad" : "warn"];
    if (left <= 0) return [name, "expired", "bad"];
    const renewal = failed > 0 ? `, renewal failed ${duration(state.now - failed)} ago` : "";
    return [name, `${duration(left)} left${renewal}`, left < 3 * 86400 ? "bad" : left < 14 * 86400 || failed > 0 ? "warn" : ""];
  });
  return card("Certificates", "In the order of the configuration.", table(rows));
}

function calls() {
  const outcomes = all("inbox_ice_outcomes_total");
  if (outcomes.length === 0 || outcomes.every((series) => series.value === 0)) return null;
  const of = (list) => rate(sum(list.map((series) => series.points)), 60);
  const lines = [
    { name: "direct", color: "a", points: of(outcomes.filter((s) => s.labels.result === "connected" && s.labels.path !== "relay")) },
    { name: "relayed", color: "c", points: of(outcomes.filter((s) => s.labels.result === "connected" && s.labels.path === "relay")) },
    { name: "failed", color: "b", points: of(outcomes.filter((s) => s.labels.result !== "connected")) },
  ];
  const rows = all("inbox_ice_failures_total").filter((s) => hour(s.points) > 0).map((s) => [`failed: ${s.labels.cause}`, count(hour(s.points))]);
  return card("Calls", "Per minute, as reported by clients.", chart({ title: "Calls", lines, format: perMinute, times, floor: 6 }), ...(rows.length > 0 ? [table(rows)] : []));
}

function relay() {
  if (!has("inbox_turn_allocations")) return null;
  const lines = [{ name: "relayed", color: "c", points: rate(points("inbox_turn_bytes_total")) }];
  const rows = [
    ["allocations", count(value("inbox_turn_allocations"))],
    ["packets dropped in the last hour", count(hour(sum(all("inbox_turn_dropped_packets_total").map((series) => series.points))))],
    ["requests refused in the last hour", count(hour(sum(all("inbox_turn_refused_total").map((series) => series.points))))],
  ];
  return card("Relay", "Bytes per second.", chart({ title: "Relay", lines, format: (n) => `${bytes(n)}/s`, times, floor: 1024, base: 2 }), table(rows));
}

function figures() {
  const refused = last(rate(sum(all("inbox_refused_total").filter((s) => s.labels.reason !== "no-such-inbox").map((s) => s.points)), 60));
  const half = last(points("inbox_delivery_seconds_p50")), most = last(points("inbox_delivery_seconds_p99"));
  const used = has("inbox_memory_bytes") ? ["inbox_memory_bytes", "inbox_memory_limit_bytes"] : ["inbox_process_memory_bytes", "inbox_process_memory_limit_bytes"];
  const part = value(used[1]) > 0 ? `${trim(100 * value(used[0]) / value(used[1]))} %` : bytes(value(used[0]));
  const list = [
    ["peers waiting", count(total("inbox_receivers"))],
    ["messages", perSecond(last(rate(points("inbox_messages_accepted_total"))))],
    ["delivery", seconds(half), most > 0 ? ` 99 %: ${seconds(most)}` : ""],
    ["refused", perMinute(refused)],
    has("inbox_memory_bytes") ? ["inbox memory used", part] : ["memory used", part],
  ];
  return list.map(([name, text, small]) => element("div", {}, element("dt", { textContent: name }),
    element("dd", {}, text, ...(small ? [element("small", { textContent: small })] : []))));
}

function draw() {
  $("version").textContent = state.version;
  const ready = value("inbox_ready") === 1;
  $("health").className = ready ? "good" : "bad";
  $("health").textContent = (ready ? "Ready" : "Not ready: the store is unavailable, or the server is shutting down") + `, up for ${duration(state.now - state.started)}`;
  $("figures").replaceChildren(...figures());
// Do not replace a chart under the pointer.
  if ($("cards").querySelector(".chart svg:hover") && $("cards").childElementCount > 0) return;
  const sections = [peers(), messages(), delivery(), refusals(), memory(), connections(), redis(), certificates(), calls(), relay()];
  $("cards").replaceChildren(...sections.filter((section) => section !== null));
}

async function refresh() {
  try {
    const answer = await fetch(`state?after=${state.samples}`, { signal: AbortSignal.timeout(every) });
    if (!answer.ok) throw new Error(answer.statusText);
    const next = await answer.json();
    if (state.started !== undefined && next.started !== state.started) { // earlier points belong to another process
      state = { samples: 0, step: 10, series: [] };
      return refresh();
    }
    merge(next);
    draw();
    $("fresh").textContent = `Updated at ${new Date().toLocaleTimeString()}.`;
  } catch {
    $("health").className = "bad";
    $("health").textContent = "The server does not answer. Retrying every 10 seconds.";
  }
}

// A page in the background does not fetch anything. It catches up when it becomes visible.
let timer;
async function watch() {
  clearTimeout(timer);
  if (document.hidden) return;
  await refresh();
  timer = setTimeout(watch, every);
}
document.addEventListener("visibilitychange", watch);
watch();
