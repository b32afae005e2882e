mock_provider "aws" {
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{\"Version\":\"2012-10-17\",\"Statement\":[]}" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/merit-nodes" }
  }
}

variables {
  name         = "gpus-eu"
  cluster_name = "training"
  subnet_ids   = ["subnet-0a1b", "subnet-0c2d"]
  image        = "rayproject/ray:2.60.0-gpu"
  ray_version  = "2.60.0"
  kubeconfig   = "/etc/merit/kubeconfig"
  flavours = {
    h100     = { instance_type = "p5.48xlarge", gpus = 8, cpus = 180, most = 2, gpu_type = "H100", price = { currency = "USD", per_unit_hour = "12.29" } }
    cpu-spot = { instance_type = "c7i.8xlarge", cpus = 30, least = 1, most = 10, spot = true, price = { currency = "USD", per_unit_hour = "0.02" } }
  }
}

run "tells_the_most_as_capacity" {
  assert {
    condition     = { for flavour in output.merit_pool.flavours : flavour.name => "${flavour.resource} ${flavour.capacity} ${flavour.spot}" } == { cpu-spot = "cpu 300 true", h100 = "gpu 16 false" }
    error_message = "the capacity is the most machines times what each has"
  }
  assert {
    condition     = [for name, group in aws_eks_node_group.flavour : "${name} ${group.labels["merit.dev/flavour"]} ${length(group.taint)} ${group.capacity_type}"] == ["cpu-spot cpu-spot 0 SPOT", "h100 h100 1 ON_DEMAND"]
    error_message = "a flavour's nodes have the label that its jobs ask for; those with GPUs a taint"
  }
  assert {
    condition     = length(aws_eks_access_entry.merit) == 0
    error_message = "nobody was named"
  }
}

run "lets_merit_in_where_its_role_is_named" {
  variables { merit_role_arn = "arn:aws:iam::123456789012:role/merit" }
  assert {
    condition     = contains(aws_eks_access_entry.merit[0].kubernetes_groups, "merit-pool")
    error_message = "Merit's role is a member of the group"
  }
}

run "runs_in_the_cluster_without_a_kubeconfig" {
  variables { kubeconfig = null }
  assert {
    condition     = output.merit_pool.provider.config.kubeconfig == null
    error_message = "there is none to name"
  }
}

run "refuses_a_flavour_without_machines" {
  command         = plan
  expect_failures = [var.flavours]
  variables {
    flavours = { h100 = { instance_type = "p5.48xlarge", gpus = 8, cpus = 180, most = 0, price = { currency = "USD", per_unit_hour = "12.29" } } }
  }
}
