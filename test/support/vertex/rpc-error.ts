/** google.rpc.Status as a gRPC server sends it beside its code: the SDK reads its details from there. Written byte by byte, so that it owes the SDK nothing. */
export class RpcError extends Error {
  readonly code: number;
  readonly details: readonly Buffer[];

  constructor(code: number, message: string, details: readonly Buffer[] = []) {
    super(message);
    this.code = code;
    this.details = details;
  }

  /** Of the metadata `grpc-status-details-bin`. */
  bytes(): Buffer {
    return Buffer.concat([
      number(1, this.code),
      bytes(2, Buffer.from(this.message)),
      ...this.details.map((detail) => bytes(3, detail)),
    ]);
  }
}

/** google.rpc.BadRequest. */
export function badRequest(violations: readonly (readonly [field: string, description: string])[]): Buffer {
  const told = violations.map(([field, text]) =>
    bytes(1, Buffer.concat([bytes(1, Buffer.from(field)), bytes(2, Buffer.from(text))])),
  );
  return any('google.rpc.BadRequest', Buffer.concat(told));
}

/** google.rpc.RetryInfo. */
export function retryInfo(ms: number): Buffer {
  const delay = Buffer.concat([number(1, Math.floor(ms / 1000)), number(2, (ms % 1000) * 1e6)]);
  return any('google.rpc.RetryInfo', bytes(1, delay));
}

function any(type: string, value: Buffer): Buffer {
  return Buffer.concat([bytes(1, Buffer.from(`type.googleapis.com/${type}`)), bytes(2, value)]);
}

function bytes(field: number, value: Buffer): Buffer {
  return Buffer.concat([varint((field << 3) | 2), varint(value.length), value]);
}

function number(field: number, value: number): Buffer {
  return Buffer.concat([varint(field << 3), varint(value)]);
}

function varint(value: number): Buffer {
  const out: number[] = [];
  let left = value;
  for (; left > 127; left = Math.floor(left / 128)) out.push((left % 128) | 128);
  return Buffer.from([...out, left]);
}
