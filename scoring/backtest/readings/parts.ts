/** A stretch of one file of an archive. Who reads it has the lines that begin in it. */
export interface Part {
  /** Index of the file. */
  readonly source: number;
  readonly fromByte: number;
  readonly untilByte: number;
}

/** The parts of one shard of `of`: equal shares of the bytes of all files, one behind the other. */
export function partsOf(sizes: readonly number[], shard: number, of: number): readonly Part[] {
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const [from, until] = [edge(total, shard, of), edge(total, shard + 1, of)];
  const parts: Part[] = [];
  let start = 0;
  for (const [source, size] of sizes.entries()) {
    const fromByte = Math.max(0, from - start);
    const untilByte = Math.min(size, until - start);
    if (fromByte < untilByte) parts.push({ source, fromByte, untilByte });
    start += size;
  }
  return parts;
}

/** The last shard has what the division leaves over. */
function edge(total: number, shard: number, of: number): number {
  return shard === of ? total : Math.floor(total / of) * shard;
}
