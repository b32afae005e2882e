import type { Part } from './harness/part.ts';
import { type PythonCommand, providePythonCommand, pythonCommandMissing, venvPython } from './harness/python.ts';

export interface MotoFacts {
  /** `http://127.0.0.1:PORT`, of every service. */
  readonly url: string;
}

const COMMAND: PythonCommand = { name: 'moto', requirement: 'moto[server]==5.2.5' };

/**
 * Shapes of AWS' services. Of KMS the signatures are real where the message is sent whole (`RAW`, ECDSA P-256); of a DIGEST it signs the hash once
 * more, which AWS does not, and it signs with a disabled key too. 2 s to start, 75 MB.
 */
export const moto: Part<MotoFacts> = {
  name: 'moto',
  needs: [],
  missing: () => pythonCommandMissing(COMMAND),
  provide: (say) => providePythonCommand(COMMAND, say),
  start: async (place) => {
    const port = await place.freePort();
    const url = `http://127.0.0.1:${port}`;
    await place.run(venvPython(COMMAND), ['-m', 'moto.server', '-H', '127.0.0.1', '-p', String(port)], {
      ready: async () => (await fetch(`${url}/moto-api/`)).ok,
    });
    return { url };
  },
};
