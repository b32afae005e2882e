const NEWLINE = 0x0a;

/**
 * The bytes of the lines that begin in [fromByte, untilByte) of a file, the last one whole. `bytes` begin at `fromByte`, or one byte before
 * it where it is not 0: a line begins behind a line feed.
 */
export async function* linesBetween(
  bytes: AsyncIterable<Uint8Array>,
  fromByte: number,
  untilByte: number,
): AsyncGenerator<Uint8Array> {
  let at = Math.max(0, fromByte - 1);
  let began = fromByte === 0;
  for await (const chunk of bytes) {
    let from = 0;
    if (!began) {
      const feed = chunk.indexOf(NEWLINE);
      if (feed === -1) {
        at += chunk.length;
        continue;
      }
      from = feed + 1;
      began = true;
      if (at + from >= untilByte) return;
    }
    // The line feed that ends the last line that begins before the end.
    const last = chunk.indexOf(NEWLINE, Math.max(from, untilByte - 1 - at));
    if (last !== -1 && at + last >= untilByte - 1) {
      yield chunk.subarray(from, last + 1);
      return;
    }
    if (from < chunk.length) yield chunk.subarray(from);
    at += chunk.length;
  }
}
