/** The arrangement of the tiles of a group call. */

/** The widest tile, and the narrowest one in a tall area: width divided by height. A tile crops a picture of another shape. */
const WIDEST = 16 / 9;
const NARROWEST = 3 / 4;
/** The shape of most cameras. The arrangement that shows most of such a picture wins. */
const CAMERA = 4 / 3;
/** The shape of most screens, and the parts of the area that the other tiles may get while someone shares one. */
const SCREEN = 16 / 9;
const STRIPS = [0.2, 0.25, 0.3, 0.35, 0.4];
/** The width of a tile in which a face can be recognized, in pixels. */
const RECOGNIZABLE = 80;

/**
 * @typedef {{left: number, top: number, width: number, height: number}} Box in pixels
 *
 * Places tiles of one size in rows, as large as the area allows. The last row is centred.
 * @param {number} count
 * @param {{width: number, height: number}} area
 * @param {number} gap between tiles, in pixels
 * @returns {Box[]}
 */
export function placeTiles(count, { width, height }, gap) {
  // A phone that is held upright sends tall pictures.
  const narrowest = Math.min(1, Math.max(NARROWEST, width / height));
  let best = { columns: 1, width: 0, height: 0, shown: -1 };
  for (let columns = 1; columns <= count; columns++) {
    const rows = Math.ceil(count / columns);
    const cell = { width: (width - gap * (columns - 1)) / columns, height: (height - gap * (rows - 1)) / rows };
    const tile = { width: Math.min(cell.width, cell.height * WIDEST), height: Math.min(cell.height, cell.width / narrowest) };
    const shown = shownIn(tile);
    if (shown > best.shown) best = { columns, ...tile, shown };
  }
  const rows = Math.ceil(count / best.columns);
  const top = (height - rows * best.height - (rows - 1) * gap) / 2;
  return Array.from({ length: count }, (_, i) => {
    const row = Math.floor(i / best.columns);
    const inRow = Math.min(best.columns, count - row * best.columns);
    const left = (width - inRow * best.width - (inRow - 1) * gap) / 2;
    return {
      left: left + (i % best.columns) * (best.width + gap), top: top + row * (best.height + gap),
      width: best.width, height: best.height,
    };
  });
}

/**
 * Gives most of the area to one tile, and a strip next to it or below it to the others. The largest
 * such tile wins, unless the others become too small.
 * @param {number} count
 * @param {number} main the index of the large tile
 * @param {{width: number, height: number}} area
 * @param {number} gap between tiles, in pixels
 * @returns {Box[]}
 */
export function placeAround(count, main, { width, height }, gap) {
  /** @type {Box[]} */
  let best = [];
  let most = -1;
  for (const part of STRIPS) {
    for (const beside of [true, false]) {
      const strip = beside ? { width: width * part, height } : { width, height: height * part };
      const large = { left: 0, top: 0, width: width - (beside ? strip.width + gap : 0), height: height - (beside ? 0 : strip.height + gap) };
      const [left, top] = beside ? [large.width + gap, 0] : [0, large.height + gap];
      const boxes = placeTiles(count - 1, strip, gap).map((box) => ({ ...box, left: box.left + left, top: box.top + top }));
      const shown = Math.min(large.width, large.height * SCREEN) * Math.min(1, shownIn(boxes[0]) / RECOGNIZABLE);
      if (shown <= most) continue;
      most = shown;
      boxes.splice(main, 0, large);
      best = boxes;
    }
  }
  return best;
}

/** @param {{width: number, height: number}} tile @returns {number} the width of a camera's picture that fits into it */
const shownIn = ({ width, height }) => Math.min(width, height * CAMERA);
