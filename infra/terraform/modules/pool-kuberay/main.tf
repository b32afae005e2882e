# Groups of nodes, one a flavour, in an EKS cluster that has KubeRay's operator and NVIDIA's device plugin, and Merit's way into it. How many nodes stand there
# at any time is the cluster autoscaler's: Terraform sets the least and the most.

terraform {
  required_version = ">= 1.6.0"
  required_providers {
    aws = { source = "hashicorp/aws", version = ">= 5.40" }
  }
}

data "aws_partition" "here" {}

locals {
  label = "merit.dev/flavour"
  managed = [
    "AmazonEKSWorkerNodePolicy",
    "AmazonEKS_CNI_Policy",
    "AmazonEC2ContainerRegistryReadOnly",
  ]
}

data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "nodes" {
  name_prefix        = "merit-${substr(var.name, 0, 24)}-"
  assume_role_policy = data.aws_iam_policy_document.trust.json
  tags               = var.tags
}

resource "aws_iam_role_policy_attachment" "nodes" {
  for_each   = toset(local.managed)
  role       = aws_iam_role.nodes.name
  policy_arn = "arn:${data.aws_partition.here.partition}:iam::aws:policy/${each.value}"
}

resource "aws_eks_node_group" "flavour" {
  for_each        = var.flavours
  cluster_name    = var.cluster_name
  node_group_name = "${var.name}-${each.key}"
  node_role_arn   = aws_iam_role.nodes.arn
  subnet_ids      = var.subnet_ids
  instance_types  = [each.value.instance_type]
  ami_type        = each.value.gpus > 0 ? "AL2023_x86_64_NVIDIA" : "AL2023_x86_64_STANDARD"
  capacity_type   = each.value.spot ? "SPOT" : "ON_DEMAND"
  disk_size       = var.volume_gib
  labels          = { (local.label) = each.key }
  tags            = var.tags

  scaling_config {
    min_size     = each.value.least
    max_size     = each.value.most
    desired_size = each.value.least
  }

  # Nothing but what asks for GPUs stands on machines that have some.
  dynamic "taint" {
    for_each = each.value.gpus > 0 ? [1] : []
    content {
      key    = "nvidia.com/gpu"
      value  = "present"
      effect = "NO_SCHEDULE"
    }
  }

  lifecycle {
    # The live size is the autoscaler's; Terraform would undo it at each apply.
    ignore_changes = [scaling_config[0].desired_size]
  }

  depends_on = [aws_iam_role_policy_attachment.nodes]
}

# Merit's role is a member of a group; what the group may do is a Role in the namespace, as docs/kuberay.md lists it.
resource "aws_eks_access_entry" "merit" {
  count             = var.merit_role_arn == null ? 0 : 1
  cluster_name      = var.cluster_name
  principal_arn     = var.merit_role_arn
  kubernetes_groups = [var.kubernetes_group]
  tags              = var.tags
}

module "merit_pool" {
  source = "../merit-pool"
  name   = var.name
  kind   = "kuberay"
  config = {
    kubeconfig = var.kubeconfig
    context    = var.context
    namespace  = var.namespace
    image      = var.image
    rayVersion = var.ray_version
    flavours = [for name, flavour in var.flavours : {
      name         = name
      nodeSelector = { (local.label) = name }
      gpuResource  = flavour.gpus > 0 ? "nvidia.com/gpu" : null
      spot         = flavour.spot
    }]
  }
  flavours = { for name, flavour in var.flavours : name => {
    resource = flavour.gpus > 0 ? "gpu" : "cpu"
    capacity = flavour.most * (flavour.gpus > 0 ? flavour.gpus : flavour.cpus)
    gpu_type = flavour.gpu_type
    spot     = flavour.spot
    price    = flavour.price
  } }
}

output "merit_pool" {
  description = "What `merit pools import` reads."
  value       = module.merit_pool.merit_pool
}
