import { promisify } from 'node:util';
import { deflateRaw } from 'node:zlib';

const deflate = promisify(deflateRaw);

export interface ZipEntry {
  /** Relative, with forward slashes. */
  readonly path: string;
  readonly executable: boolean;
  readonly bytes: Uint8Array;
}

const STORED = 0;
const DEFLATED = 8;
const UTF8_NAMES = 0x0800;
/** 1 January 1980, 00:00: the zip format's oldest time. Real times would change the bytes of an unchanged folder. */
const DOS_DATE = 0x0021;
const MADE_BY_UNIX = (3 << 8) | 20;

/**
 * A small writer of classic zip files (no zip64: below 4 GiB and 65,535 entries, which the caller bounds). The same entries in the
 * same order give the same bytes. Source: PKWARE APPNOTE.TXT 6.3, sections 4.3.7, 4.3.12 and 4.3.16.
 */
export class ZipWriter {
  /** Bytes written so far, the directory left out. */
  size = 0;
  readonly #parts: Buffer[] = [];
  readonly #directory: Buffer[] = [];

  async add(entry: ZipEntry): Promise<void> {
    const name = Buffer.from(entry.path, 'utf8');
    const packed = await deflate(entry.bytes, { level: 6 });
    const stored = packed.length >= entry.bytes.length;
    const data = stored ? Buffer.from(entry.bytes) : packed;
    const common = Buffer.alloc(26);
    common.writeUInt16LE(20, 0);
    common.writeUInt16LE(UTF8_NAMES, 2);
    common.writeUInt16LE(stored ? STORED : DEFLATED, 4);
    common.writeUInt16LE(0, 6);
    common.writeUInt16LE(DOS_DATE, 8);
    common.writeUInt32LE(crc32(entry.bytes), 10);
    common.writeUInt32LE(data.length, 14);
    common.writeUInt32LE(entry.bytes.length, 18);
    common.writeUInt16LE(name.length, 22);
    common.writeUInt16LE(0, 24);
    this.#directory.push(directoryRecord(common, name, entry.executable, this.size));
    const local = Buffer.concat([signature(0x04034b50), common, name, data]);
    this.#parts.push(local);
    this.size += local.length;
  }

  finish(): Buffer {
    const directory = Buffer.concat(this.#directory);
    const end = Buffer.alloc(22);
    end.writeUInt32LE(0x06054b50, 0);
    end.writeUInt16LE(this.#directory.length, 8);
    end.writeUInt16LE(this.#directory.length, 10);
    end.writeUInt32LE(directory.length, 12);
    end.writeUInt32LE(this.size, 16);
    return Buffer.concat([...this.#parts, directory, end]);
  }
}

function directoryRecord(common: Buffer, name: Buffer, executable: boolean, offset: number): Buffer {
  const madeBy = Buffer.alloc(2);
  madeBy.writeUInt16LE(MADE_BY_UNIX, 0);
  const tail = Buffer.alloc(14);
  tail.writeUInt32LE(((0o100000 | (executable ? 0o755 : 0o644)) << 16) >>> 0, 6);
  tail.writeUInt32LE(offset, 10);
  return Buffer.concat([signature(0x02014b50), madeBy, common, tail, name]);
}

function signature(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value, 0);
  return bytes;
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, index) => {
  let value = index;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value >>> 0;
});

/** CRC-32 as zip has it. Node's own zlib.crc32 is only there from 20.15 and 22.2 on. */
export function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (CRC_TABLE[(crc ^ byte) & 0xff] ?? 0) ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}
