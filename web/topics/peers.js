/**
 * Runs in the browser: a client of bittorrent-tracker, WebTorrent, P2PT, and a room of
 * Trystero's torrent strategy.
 */

import { joinRoom } from "@trystero-p2p/torrent";
import Client from "bittorrent-tracker/client";
import P2PT from "p2pt";
import WebTorrent from "webtorrent/dist/webtorrent.min.js";

const rtcConfig = { iceServers: [] };
const heard = new Set();

/** The names of the peers that have said hello, sorted. */
window.heard = () => [...heard].sort().join(" ");

let client;

/** Starts a client of the tracker, which says hello to each peer. */
window.track = (name, infoHash, url) => {
  const peerId = [...crypto.getRandomValues(new Uint8Array(20))].map((b) => b.toString(16).padStart(2, "0")).join("");
  client = new Client({ infoHash, peerId, announce: [url], rtcConfig });
  client.on("peer", (peer) => {
    peer.on("connect", () => peer.send(name));
    peer.on("data", (data) => heard.add(new TextDecoder().decode(data)));
  });
  window.warnings = [];
  client.on("warning", ({ message }) => window.warnings.push(message));
  client.start({ left: 1 });
};

const next = (event) => new Promise((resolve) => client.once(event, ({ complete, incomplete }) => resolve(`${complete} ${incomplete}`)));

/** Announces, and returns the numbers of seeders and others. @param {"update" | "complete" | "stop"} how */
window.announce = async (how) => {
  const counts = next("update");
  client[how]({ numwant: 0 });
  return counts;
};

/** Scrapes, and returns the numbers of seeders and others. */
window.scrape = async () => {
  const counts = next("scrape");
  client.scrape();
  return counts;
};

const torrents = () => new WebTorrent({ dht: false, lsd: false, utPex: false, tracker: { rtcConfig } });

const digest = async (blob) => [...new Uint8Array(await crypto.subtle.digest("SHA-256", await blob.arrayBuffer()))].join();

/** Seeds a file of random bytes, and returns its magnet URI and digest. */
window.seed = async (size, url) => {
  const bytes = new Uint8Array(size);
  for (let at = 0; at < size; at += 65_536) crypto.getRandomValues(bytes.subarray(at, at + 65_536));
  const file = new File([bytes], "file.bin");
  const torrent = await new Promise((resolve) => torrents().seed(file, { announce: [url] }, resolve));
  return [torrent.magnetURI, await digest(file)];
};

/** Downloads a torrent and returns the digest of its file. */
window.download = async (magnet, url) => {
  const torrent = torrents().add(magnet.replace(/&tr=[^&]*/g, ""), { announce: [url] });
  await new Promise((resolve, reject) => torrent.on("done", resolve).on("error", reject));
  return digest(await torrent.files[0].blob());
};

/** Joins a room of Trystero, and says hello to each peer. */
window.join = (name, room, url) => {
  const joined = joinRoom({ appId: "inbox-test", rtcConfig, relayConfig: { urls: [url] } }, room);
  const hello = joined.makeAction("hello");
  hello.onMessage = (other) => void heard.add(other);
  joined.onPeerJoin = (id) => void hello.send(name, { target: id });
};

/** Joins a network of P2PT, and says hello to each peer. */
window.meet = (name, network, url) => {
  const p2pt = new P2PT([url], network);
  p2pt.on("peerconnect", (peer) => void p2pt.send(peer, name));
  p2pt.on("msg", (_, other) => void heard.add(other));
  void p2pt.start();
};
