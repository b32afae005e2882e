import { request as httpRequest } from 'node:http';
import { OperatingError } from '../../../core/operating-error.ts';
import type { PeerHttp, PeerHttpReply } from '../../../peers/peer-call.ts';

/** The transport's contract in its plainest form, over node:http: for tests of what lies above it. */
export function plainHttp(origin: string): PeerHttp {
  return (asked) =>
    new Promise<PeerHttpReply>((resolve, reject) => {
      const body = asked.body;
      const call = httpRequest(new URL(asked.path, origin), {
        method: asked.method,
        headers: { ...asked.headers, ...(body === undefined ? {} : { 'content-length': body.length }) },
        agent: false,
        signal: AbortSignal.any([asked.signal, AbortSignal.timeout(asked.timeoutMs)]),
      });
      const fail = (cause: Error) => {
        const code = (cause as NodeJS.ErrnoException).code;
        if (code === 'ECONNREFUSED') reject(new OperatingError('unreachable', 'safe', 'connecting', { cause }));
        else if (cause.name === 'AbortError' && !asked.signal.aborted)
          reject(new OperatingError('timeout', 'look-first', 'waiting for a reply', { cause }));
        else if (cause.name === 'AbortError')
          reject(new OperatingError('aborted', 'look-first', 'waiting for a reply', { cause }));
        else reject(new OperatingError('unreachable', 'look-first', 'waiting for a reply', { cause }));
      };
      call.on('error', fail);
      call.on('response', (response) => {
        const parts: Buffer[] = [];
        let size = 0;
        response.on('data', (part: Buffer) => {
          size += part.length;
          if (size > asked.maxReplyBytes) call.destroy(new Error('the reply is too long'));
          else parts.push(part);
        });
        response.on('error', fail);
        response.on('end', () => {
          if (!response.complete) return fail(new Error('the reply was cut'));
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers as Record<string, string>,
            body: Buffer.concat(parts),
          });
        });
      });
      call.end(body);
    });
}
