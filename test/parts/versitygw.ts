import { randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { type GoCommand, goBinary, goCommandMissing, provideGoCommand } from './harness/go.ts';
import type { Part } from './harness/part.ts';

export interface VersitygwFacts {
  /** `http://127.0.0.1:PORT` */
  readonly url: string;
  readonly accessKey: string;
  readonly secretKey: string;
  /** Where it keeps objects: `dir/bucket/key`. */
  readonly dir: string;
}

const COMMAND: GoCommand = {
  name: 'versitygw',
  module: 'github.com/versity/versitygw',
  version: 'v1.8.0',
  main: 'github.com/versity/versitygw/cmd/versitygw',
  go: '1.25',
  cpuSeconds: 150,
};

/** S3 on a folder, with checksums, conditional writes, signatures, versions and object lock as AWS has them. 0.2 s to start, 36 MB. */
export const versitygw: Part<VersitygwFacts> = {
  name: COMMAND.name,
  needs: [],
  missing: () => goCommandMissing(COMMAND),
  provide: (say) => provideGoCommand(COMMAND, say),
  start: async (place) => {
    const address = `127.0.0.1:${await place.freePort()}`;
    const dir = join(place.dir, 'objects');
    const versions = join(place.dir, 'versions');
    mkdirSync(dir);
    mkdirSync(versions);
    const [accessKey, secretKey] = [randomBytes(8).toString('hex'), randomBytes(16).toString('hex')];
    await place.run(goBinary(COMMAND), ['--port', address, 'posix', '--versioning-dir', versions, dir], {
      env: { ROOT_ACCESS_KEY: accessKey, ROOT_SECRET_KEY: secretKey },
      // Nobody is let in without a signature.
      ready: async () => (await fetch(`http://${address}/`)).status === 403,
    });
    return { url: `http://${address}`, accessKey, secretKey, dir };
  },
};
