variables {
  name   = "gpus-us-east"
  kind   = "ray"
  config = { address = "https://ray.example:8265", tokenFile = "/run/ray/token" }
  flavours = {
    h100 = { capacity = 8, gpu_type = "H100", price = { currency = "USD", per_unit_hour = "2.50" } }
    cpu  = { resource = "cpu", capacity = 64, spot = true, price = { currency = "USD", per_unit_hour = "0.04" } }
  }
}

run "tells_name_provider_and_flavours" {
  command = plan
  assert {
    condition     = output.merit_pool.name == "gpus-us-east" && output.merit_pool.provider.kind == "ray"
    error_message = "name and kind are told as they were given"
  }
  assert {
    condition     = [for flavour in output.merit_pool.flavours : "${flavour.name} ${flavour.resource} ${flavour.capacity} ${flavour.spot}"] == ["cpu cpu 64 true", "h100 gpu 8 false"]
    error_message = "flavours are told in the order of their names"
  }
}

run "refuses_a_name_that_merit_would" {
  command         = plan
  expect_failures = [var.name]
  variables { name = "GPUs" }
}

run "refuses_half_a_gpu_and_a_price_of_one_decimal" {
  command         = plan
  expect_failures = [var.flavours]
  variables {
    flavours = { h100 = { capacity = 0.5, price = { currency = "USD", per_unit_hour = "2.5" } } }
  }
}
