"""Submits a job with Ray's own client for each line of stdin, and stops it at the next: the peer of overhead.ts."""

import sys

from ray.job_submission import JobSubmissionClient

client = JobSubmissionClient(sys.argv[1])
print("ready", flush=True)
for line in sys.stdin:
    verb, job = line.split()
    if verb == "submit":
        client.submit_job(entrypoint="true", submission_id=job, entrypoint_num_cpus=1, metadata={"booking": job})
    else:
        client.stop_job(job)
    print(verb, flush=True)
