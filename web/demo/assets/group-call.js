/** A group call: connects the people of a room to the tiles, the log and the chat. */

import { addLine, showChat, showState } from "./call-view.js";
import { failureInGroup, offerTest } from "./failures.js";
import { Group, RoomFull, distinctNames } from "./group.js";
import { showGroupProblems } from "./group-problems.js";
import { groupEndings, groupStatus, groupStep } from "./group-words.js";
import { allowances } from "./messages.js";
import { cleanText, friendlyName } from "./names.js";
import { loadName } from "./settings.js";
import { removeTile, removeTiles, showTile, showVoice } from "./tiles.js";
import { element, showProblem, showStatus } from "./view.js";
import { watchVoices } from "./voices.js";
import { onNoCandidates } from "./webrtc.js";
import { endings, problems, stepWords } from "./words.js";

/** Maximum number of people in a call, because everyone sends their video to each of the others. */
export const MAX_PEOPLE = 6;
/** When to tell the person that connecting takes long, in milliseconds. */
const SLOW_AFTER = 12_000;
/** Maximum number of people who are recognized when they come back. */
const MAX_FORMER = 50;

/**
 * Facts about a person that do not depend on the connection.
 * @typedef {object} Facts
 * @property {boolean} announced whether the log says that they are in the call
 * @property {ReturnType<typeof allowances>} may what limits their messages
 * @property {boolean} slow whether connecting takes long
 * @property {ReturnType<typeof setTimeout>} timer for that
 * @property {{camera: boolean, microphone: boolean, screen: boolean}} [media] what they send, once known
 * @property {MediaStream} [stream]
 * @property {string} [fault] why they are not connected, as the log has explained it
 */

/**
 * @param {import("./call.js").Desk & {choice: {room: string}}} desk
 * @returns {import("./call.js").Call}
 */
export function groupCall({ inbox, choice: { id, room }, own, talk, leave, toSetup }) {
  const ends = new AbortController();
  let entered = false;
  /** @type {"waiting" | "connecting" | "connected" | undefined} the state that the page shows */
  let shown;
  /** @type {Map<string, Facts>} */
  const facts = new Map();
  /** The ids of people who have left. @type {Set<string>} */
  const former = new Set();

  const group = new Group({
    inbox, room, name: loadName() || friendlyName(id), at: "call", most: MAX_PEOPLE,
    page: {
      onentered() {
        entered = true;
        refresh();
      },
      onpeople: () => refresh(),
      onchannel(person, open) {
        if (open) group.send(person, own.state);
        refresh();
      },
      ondata(person, { type, text, camera, microphone, screen }) {
        const known = factsOf(person.id);
        if (type === "text" && typeof text === "string" && cleanText(text) !== "" && known.may.text()) {
          talk("theirs", cleanText(text), nameOf(person));
        } else if (type === "media" && known.may.news()) {
          if (screen === true && !known.media?.screen) addLine("step", stepWords("their-screen", nameOf(person)), { step: "their-screen" });
          known.media = { camera: camera === true, microphone: microphone === true, screen: screen === true };
          refresh();
        }
      },
      onleft(person, over) {
        const { announced } = factsOf(person.id);
        forget(person.id);
        if (over) return;
        if (announced) {
          former.add(person.id);
          if (former.size > MAX_FORMER) former.delete([...former][0]);
          addLine("step", groupStep("gone", person.name), { step: "gone" });
        }
        refresh();
      },
      setup(pc, person) {
        const known = factsOf(person.id);
        const stream = (known.stream = new MediaStream());
        known.media = undefined;
        pc.addEventListener("track", ({ track }) => {
          stream.addTrack(track);
          refresh();
        });
        own.attach(pc);
        onNoCandidates(pc, () => showProblem("no-candidates"));
      },
    },
  });

  /** @param {string} id */
  const factsOf = (id) => {
    const known = facts.get(id) ?? {
      announced: false, slow: false, may: allowances(),
      timer: setTimeout(() => {
        known.slow = true;
        refresh();
      }, SLOW_AFTER),
    };
    facts.set(id, known);
    return known;
  };

  /** @param {string} id */
  const forget = (id) => {
    clearTimeout(facts.get(id)?.timer);
    facts.delete(id);
    removeTile(id);
  };

  /** @param {import("./group.js").Person} person */
  const nameOf = ({ id }) => distinctNames(group.people.values()).get(id) ?? "";

  /** Shows what follows from the states of all people. */
  const refresh = () => {
    if (!entered || ends.signal.aborted) return;
    const people = [...group.people.values()];
    const names = distinctNames(people);
    for (const person of people) {
      const { id, state, early, channel } = person;
      const known = factsOf(id);
      const name = names.get(id) ?? "";
      if (!known.announced && channel && name !== "") {
        known.announced = true;
        const how = former.has(id) ? "back" : early ? "present" : "joined";
        addLine("step", groupStep(how, name), { step: how });
      }
      showTile(id, { name, state: tileState(person, known), media: known.media, stream: state === "connecting" ? undefined : known.stream });
      explain(person, known, name);
    }
    const connected = people.filter(({ state }) => state === "connected").length;
    const state = people.length === 0 ? "waiting" : people.some(({ id }) => factsOf(id).announced) ? "connected" : "connecting";
    if (state !== shown) showState((shown = state));
    showStatus(groupStatus(state, people.length + 1));
    showChat(people.some(({ channel }) => channel));
    own.limit(connected);

    showGroupProblems(people, { advanced: () => toSetup({ advanced: true }), reload: () => location.reload() });
  };

  /**
   * Adds a line to the log about why a person is not connected, once for each reason.
   * @param {import("./group.js").Person} person
   * @param {Facts} known
   * @param {string} name
   */
  const explain = ({ error }, known, name) => {
    const fault = failureInGroup(error);
    if (fault === undefined || fault === known.fault) return;
    known.fault = fault;
    const problem = problems[fault];
    const why = problem ? `${problem.title} ${problem.text}` : endings[/** @type {import("./failures.js").Ending} */ (fault)];
    addLine("step", groupStep("apart", name, why), { step: "apart", details: problem?.details });
  };

  /** @param {keyof typeof groupEndings} why */
  const end = (why) => {
    const { title, text, again } = groupEndings[why];
    leave();
    inbox.close({ signal: AbortSignal.timeout(5000) }).catch(() => {}); // it expires anyway
    document.body.dataset.ending = why;
    element("over-title").textContent = title;
    element("over-text").textContent = text;
    offerTest(element("find-out"), undefined);
    element("again").textContent = again;
    showState("ended", "", title);
    addLine("step", `${title}.`, { step: why });
  };

  watchVoices(
    () => {
      const voices = [...group.people.values()].flatMap(({ id, pc, state }) => (pc && state === "connected" ? [{ id, pc }] : []));
      return voices.length === 0 ? [] : [...voices, { id: undefined, pc: voices[0].pc }];
    },
    showVoice, ends.signal,
  );

  return {
    now: {},
    busy: true,
    async run(signal) {
      signal.addEventListener("abort", () => ends.abort());
      try {
        await group.run(ends.signal);
      } catch (error) {
        if (!(error instanceof RoomFull)) throw error;
        end(error.byServer ? "server-full" : "full");
      }
    },
    first() {},
    serverAway() {},
    send: (data) => [...group.people.values()].filter((person) => group.send(person, data)).length > 0,
    hangUp: () => end("left"),
    close() {
      ends.abort();
      for (const id of [...facts.keys()]) forget(id);
      removeTiles();
      showVoice(undefined, false);
    },
  };
}

/**
 * @param {import("./group.js").Person} person
 * @param {Facts} facts
 * @returns {import("./tiles.js").TileState}
 */
function tileState({ state, error }, { slow, announced }) {
  if (state !== "connecting") return state;
  if (failureInGroup(error)) return "failed";
  return announced ? "interrupted" : slow ? "slow" : "connecting";
}
