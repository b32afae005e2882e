# A Ray cluster on EC2: one head behind an internal load balancer with TLS, and a group of workers a flavour. How many workers stand there at any time is not
# Terraform's: it sets the least and the most, and an autoscaler, or a person, sets the size between them.

terraform {
  required_version = ">= 1.6.0"
  required_providers {
    aws = { source = "hashicorp/aws", version = ">= 5.40, < 6.0" }
  }
}

data "aws_region" "here" {}
data "aws_partition" "here" {}

data "aws_subnet" "first" {
  id = var.subnet_ids[0]
}

locals {
  dashboard_port = 8265
  gcs_port       = 6379
  tags           = merge({ Name = "merit-${var.name}" }, var.tags)
  # Both kinds of machine begin with the cluster's token, which never stands in user data.
  token = <<-SH
    #!/bin/bash
    set -euo pipefail
    umask 077
    mkdir -p /etc/ray
    aws secretsmanager get-secret-value --region ${data.aws_region.here.name} --secret-id '${var.token_secret_arn}' --query SecretString --output text > /etc/ray/token
    chown -R ${var.user}: /etc/ray
    export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=/etc/ray/token
  SH
  # A worker whose head is gone ends, and joins the next one, which has the same address.
  forever     = <<-SH
    while true; do
      sudo --user ${var.user} --preserve-env=RAY_AUTH_MODE,RAY_AUTH_TOKEN_PATH -- ${var.ray} start %s --block || true
      sleep 5
    done
  SH
  resource_of = { for name, _ in var.flavours : name => "flavour_${replace(name, "-", "_")}" }
}

resource "aws_security_group" "cluster" {
  name_prefix = "merit-${var.name}-"
  description = "The nodes of a Ray cluster, among themselves"
  vpc_id      = data.aws_subnet.first.vpc_id
  tags        = local.tags
}

resource "aws_vpc_security_group_ingress_rule" "among_nodes" {
  security_group_id            = aws_security_group.cluster.id
  referenced_security_group_id = aws_security_group.cluster.id
  ip_protocol                  = "-1"
}

resource "aws_vpc_security_group_egress_rule" "anywhere" {
  security_group_id = aws_security_group.cluster.id
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "-1"
}

resource "aws_security_group" "door" {
  name_prefix = "merit-${var.name}-door-"
  description = "Who reaches the Jobs API: Merit"
  vpc_id      = data.aws_subnet.first.vpc_id
  tags        = local.tags
}

resource "aws_vpc_security_group_ingress_rule" "merit" {
  for_each          = toset(var.merit_cidrs)
  security_group_id = aws_security_group.door.id
  cidr_ipv4         = each.value
  from_port         = 443
  to_port           = 443
  ip_protocol       = "tcp"
}

resource "aws_vpc_security_group_egress_rule" "to_head" {
  security_group_id            = aws_security_group.door.id
  referenced_security_group_id = aws_security_group.cluster.id
  from_port                    = local.dashboard_port
  to_port                      = local.dashboard_port
  ip_protocol                  = "tcp"
}

resource "aws_vpc_security_group_ingress_rule" "from_door" {
  security_group_id            = aws_security_group.cluster.id
  referenced_security_group_id = aws_security_group.door.id
  from_port                    = local.dashboard_port
  to_port                      = local.dashboard_port
  ip_protocol                  = "tcp"
}

resource "aws_lb" "door" {
  name_prefix        = "merit-"
  internal           = true
  load_balancer_type = "network"
  subnets            = var.subnet_ids
  security_groups    = [aws_security_group.door.id]
  tags               = local.tags
}

resource "aws_lb_target_group" "dashboard" {
  name_prefix = "merit-"
  port        = local.dashboard_port
  protocol    = "TCP"
  vpc_id      = data.aws_subnet.first.vpc_id
  tags        = local.tags
  health_check {
    protocol = "TCP"
  }
}

resource "aws_lb_listener" "tls" {
  load_balancer_arn = aws_lb.door.arn
  port              = 443
  protocol          = "TLS"
  ssl_policy        = "ELBSecurityPolicy-TLS13-1-2-2021-06"
  certificate_arn   = var.certificate_arn
  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.dashboard.arn
  }
}

resource "aws_route53_record" "door" {
  count   = var.zone_id == null ? 0 : 1
  zone_id = var.zone_id
  name    = var.domain
  type    = "A"
  alias {
    name                   = aws_lb.door.dns_name
    zone_id                = aws_lb.door.zone_id
    evaluate_target_health = false
  }
}

# Workers find the head by a name of its own, which its address is given when it starts.
resource "aws_network_interface" "head" {
  subnet_id       = var.subnet_ids[0]
  security_groups = [aws_security_group.cluster.id]
  tags            = local.tags
}

resource "aws_instance" "head" {
  ami                  = var.ami_id
  instance_type        = var.head_instance_type
  iam_instance_profile = aws_iam_instance_profile.nodes.name
  tags                 = local.tags
  network_interface {
    network_interface_id = aws_network_interface.head.id
    device_index         = 0
  }
  metadata_options {
    http_tokens   = "required"
    http_endpoint = "enabled"
  }
  root_block_device {
    encrypted = true
  }
  # The head takes no work: what runs there would end with the control of all of it.
  user_data                   = "${local.token}\n${format(local.forever, "--head --port=${local.gcs_port} --dashboard-host=0.0.0.0 --dashboard-port=${local.dashboard_port} --num-cpus=0 --num-gpus=0")}"
  user_data_replace_on_change = true
}

resource "aws_lb_target_group_attachment" "head" {
  target_group_arn = aws_lb_target_group.dashboard.arn
  target_id        = aws_instance.head.id
  port             = local.dashboard_port
}

resource "aws_launch_template" "workers" {
  for_each               = var.flavours
  name_prefix            = "merit-${var.name}-${each.key}-"
  image_id               = var.ami_id
  instance_type          = each.value.instance_type
  vpc_security_group_ids = [aws_security_group.cluster.id]
  tags                   = local.tags
  user_data              = base64encode("${local.token}\n${format(local.forever, "--address=${aws_network_interface.head.private_ip}:${local.gcs_port} --num-cpus=${each.value.cpus} --num-gpus=${each.value.gpus} --resources='{\"${local.resource_of[each.key]}\": 1000000}'")}")
  iam_instance_profile {
    arn = aws_iam_instance_profile.nodes.arn
  }
  metadata_options {
    http_tokens   = "required"
    http_endpoint = "enabled"
  }
  block_device_mappings {
    device_name = var.root_device
    ebs {
      volume_size = var.volume_gib
      encrypted   = true
    }
  }
  dynamic "instance_market_options" {
    for_each = each.value.spot ? [1] : []
    content {
      market_type = "spot"
    }
  }
  tag_specifications {
    resource_type = "instance"
    tags          = merge(local.tags, { "merit:flavour" = each.key })
  }
}

resource "aws_autoscaling_group" "workers" {
  for_each            = var.flavours
  name_prefix         = "merit-${var.name}-${each.key}-"
  min_size            = each.value.least
  max_size            = each.value.most
  vpc_zone_identifier = var.subnet_ids
  capacity_rebalance  = each.value.spot
  launch_template {
    id      = aws_launch_template.workers[each.key].id
    version = aws_launch_template.workers[each.key].latest_version
  }
  lifecycle {
    # The live size is the autoscaler's; Terraform would undo it at each apply.
    ignore_changes = [desired_capacity]
  }
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
  tags               = local.tags
}

data "aws_iam_policy_document" "nodes" {
  statement {
    actions   = ["secretsmanager:GetSecretValue"]
    resources = [var.token_secret_arn]
  }
}

resource "aws_iam_role_policy" "nodes" {
  name   = "token"
  role   = aws_iam_role.nodes.id
  policy = data.aws_iam_policy_document.nodes.json
}

resource "aws_iam_role_policy_attachment" "nodes" {
  for_each   = toset(var.node_policy_arns)
  role       = aws_iam_role.nodes.name
  policy_arn = each.value
}

resource "aws_iam_instance_profile" "nodes" {
  name_prefix = "merit-${substr(var.name, 0, 24)}-"
  role        = aws_iam_role.nodes.name
  tags        = local.tags
}

module "merit_pool" {
  source = "../merit-pool"
  name   = var.name
  kind   = "ray"
  config = {
    address   = "https://${var.domain}"
    tokenFile = var.token_file
    caFile    = var.ca_file
    flavours  = [for name, flavour in var.flavours : { name = name, resource = local.resource_of[name], spot = flavour.spot }]
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
