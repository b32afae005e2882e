import type { WorkdirFile } from '../provider.ts';

const BLOCK = 512;
/** What a header's own field of a name holds. */
const NAME_BYTES = 100;
const PLAIN = /^[\x20-\x7e]+$/;

/**
 * Files as a POSIX (pax) tar archive: the same bytes for the same files on every machine, so that its hash names it. Long names, and such that are not
 * plain ASCII, stand in an extended header, which every tar of the last twenty years reads.
 */
export function tarOf(files: readonly WorkdirFile[]): Buffer {
  const parts: Buffer[] = [];
  const add = (name: string, type: '0' | 'x', mode: number, bytes: Buffer) =>
    parts.push(header(name, type, mode, bytes.length), bytes, Buffer.alloc(-bytes.length & (BLOCK - 1)));
  for (const { path, executable, bytes } of files) {
    const fits = Buffer.byteLength(path) <= NAME_BYTES && PLAIN.test(path);
    if (!fits) add('pax', 'x', 0o644, record('path', path));
    add(fits ? path : 'file', '0', executable ? 0o755 : 0o644, bytes);
  }
  return Buffer.concat([...parts, Buffer.alloc(2 * BLOCK)]);
}

/** `<length> path=<value>\n`, whose length counts its own digits. */
function record(name: string, value: string): Buffer {
  const rest = Buffer.byteLength(` ${name}=${value}\n`);
  let length = rest + String(rest).length;
  if (String(length).length > String(rest).length) length++;
  return Buffer.from(`${length} ${name}=${value}\n`);
}

function header(name: string, type: '0' | 'x', mode: number, size: number): Buffer {
  const block = Buffer.alloc(BLOCK);
  const octal = (value: number, width: number) => `${value.toString(8).padStart(width - 1, '0')}\0`;
  block.write(name, 0, NAME_BYTES, 'utf8');
  block.write(octal(mode, 8), 100);
  block.write(octal(0, 8), 108);
  block.write(octal(0, 8), 116);
  block.write(octal(size, 12), 124);
  block.write(octal(0, 12), 136);
  block.fill(0x20, 148, 156);
  block.write(type, 156);
  block.write('ustar\x0000', 257);
  const sum = block.reduce((all, byte) => all + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return block;
}
