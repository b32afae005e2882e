variables {
  name            = "training"
  project         = "example-merit"
  region          = "europe-west4"
  gcs             = "gs://example-merit-training/training"
  service_account = "merit-training@example-merit.iam.gserviceaccount.com"
  image           = "europe-docker.pkg.dev/example-merit/train/train:1"
  flavours = {
    l4       = { machine_type = "g2-standard-48", accelerator = "NVIDIA_L4", gpus = 4, cpus = 48, memory_gib = 192, machines = 2, gpu_type = "L4", price = { currency = "USD", per_unit_hour = "1.00" } }
    cpu-spot = { machine_type = "n2-standard-16", cpus = 16, machines = 4, spot = true, price = { currency = "USD", per_unit_hour = "0.02" } }
  }
}

run "tells_whole_machines_as_capacity" {
  assert {
    condition     = { for flavour in output.merit_pool.flavours : flavour.name => "${flavour.resource} ${flavour.capacity}" } == { cpu-spot = "cpu 64", l4 = "gpu 8" }
    error_message = "the capacity is machines times what each has"
  }
}

run "tells_labels_and_a_key_where_there_are_some" {
  variables {
    labels  = { team = "search" }
    kms_key = "projects/example-merit/locations/europe-west4/keyRings/merit/cryptoKeys/training"
  }
  assert {
    condition     = output.merit_pool.provider.config.labels.team == "search"
    error_message = "labels are told"
  }
}

run "refuses_gpus_without_their_name" {
  command         = plan
  expect_failures = [var.flavours]
  variables {
    flavours = { l4 = { machine_type = "g2-standard-48", gpus = 4, cpus = 48, machines = 2, price = { currency = "USD", per_unit_hour = "1.00" } } }
  }
}
