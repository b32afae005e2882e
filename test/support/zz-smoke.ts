import { startLocalCluster, findLocalCluster } from '../../providers/ray/local-cluster.ts';
const V = '/root/.cache/merit-probe';
const t0 = performance.now(); const T = () => `${((performance.now() - t0) / 1000).toFixed(1)}s`;
if (process.argv[2] === 'start') {
  const [a, b] = await Promise.all(['a', 'b'].map((n) => startLocalCluster({ venvDir: V, stateDir: `/tmp/rp/state-${n}`, numCpus: 2, fakeGpus: 4, resources: { pool_a: 2 } })));
  console.log(T(), a, b); process.kill(process.pid, 'SIGKILL');
} else {
  const [a, b] = await Promise.all(['a', 'b'].map((n) => startLocalCluster({ venvDir: V, stateDir: `/tmp/rp/state-${n}`, numCpus: 2, fakeGpus: 4 })));
  console.log(T(), a, b); await a.stop(); console.log(T(), 'a stopped', await findLocalCluster('/tmp/rp/state-a'));
  process.kill(b.pid, 'SIGKILL'); await new Promise(r => setTimeout(r, 500));
  await b.stop(); console.log(T(), 'b stopped after its head was killed');
}
