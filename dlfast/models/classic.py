"""Convolutional networks without shortcuts: LeNet-5, AlexNet, VGG-11 and a small one, and the picture of the notes."""

from __future__ import annotations

from functools import partial

from .. import _check as check
from .. import init, nn
from ._build import affine, initialise, sizes


def lenet5(num_classes: int = 10, in_channels: int = 1, *, image_size: int = 28, modern: bool = False) -> nn.Sequential:
    """LeNet-5: images (N, image_size, image_size, in_channels) -> logits (N, num_classes), 61,706 parameters.

    Convolutions 5 x 5 with 6 and 16 maps, each with pooling to half, then Linear layers of 120, 84 and num_classes.
    image_size: 32 as in the paper, or 28, which is padded to 32. The paper's form has tanh and average pooling;
    `modern` ReLU and max-pooling. Simpler than the paper: the second convolution sees all maps, pooling has no
    parameters, tanh is not scaled, and logits stand for distances to drawn digits.
    Biases start at 0, weights as fits the activation: Xavier uniform (Glorot and Bengio 2010) for tanh, He normal (He
    et al. 2015) if modern. From the paper's own, uniform in +-2.4/fan_in, plain SGD does not leave ln 10: it needs the
    paper's scaled tanh and a step size for each weight.
    Source: LeCun et al. 1998, "Gradient-based learning applied to document recognition", section II B, appendix A.
    """
    num_classes, in_channels = sizes("lenet5", num_classes, in_channels)
    padding = {28: 2, 32: 0}[check.choice("lenet5", "image_size", image_size, (28, 32))]
    activation, pool = (nn.ReLU, nn.MaxPool2d) if modern else (nn.Tanh, nn.AvgPool2d)
    model = nn.Sequential(
        nn.Conv2d(in_channels, 6, 5, padding=padding),
        activation(),
        pool(2),
        nn.Conv2d(6, 16, 5),
        activation(),
        pool(2),
        nn.Flatten(),
        nn.Linear(16 * 5 * 5, 120),
        activation(),
        nn.Linear(120, 84),
        activation(),
        nn.Linear(84, num_classes),
    )
    initialise(affine(model), init.he_normal_ if modern else init.xavier_uniform_)
    return model


def notes_cnn(num_classes: int = 1000, in_channels: int = 3) -> nn.Sequential:
    """The CNN that the notes draw: images (N, 224, 224, in_channels) -> logits (N, num_classes).

        224 x 224 x 3 -> conv 222 x 222 x 32 -> pool 111 x 111 x 32 -> conv -> pool -> flatten 4096 -> 1000

    The picture leaves the second convolution and pooling open: 64 filters of 3 x 3 make 109 x 109 x 64, and windows of
    13 x 13 make the 8 x 8 x 64 = 4096 features it shows. 4,116,392 parameters.
    Biases start at 0, weights as the notes advise for ReLU: He normal (He et al. 2015, section 2.2); those of the last
    layer normal with standard deviation 0.001, so that the loss starts near ln(num_classes), which the notes check.
    """
    num_classes, in_channels = sizes("notes_cnn", num_classes, in_channels)
    model = nn.Sequential(
        nn.Conv2d(in_channels, 32, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(13),
        nn.Flatten(),
        nn.Linear(4096, num_classes),
    )
    *hidden, last = affine(model)
    initialise(hidden, init.he_normal_)
    initialise([last], partial(init.normal_, std=0.001))
    return model


def alexnet(num_classes: int = 1000, in_channels: int = 3, *, dropout: float = 0.5) -> nn.Sequential:
    """AlexNet in one tower: images (N, 224, 224, in_channels) -> logits (N, num_classes), 61,100,840 parameters.

    Five convolutions with 64, 192, 384, 256 and 256 channels, without local response normalisation, means over 6 x 6
    bins (so that images of 63 pixels and more will do), and Linear layers of 4096, 4096 and num_classes with `dropout`
    before the first two: torchvision's variant.
    Weights start normal with standard deviation 0.01; biases at 1 in the second, fourth and fifth convolution and the
    hidden Linear layers, else at 0: Krizhevsky et al. 2012, section 5.
    Source: Krizhevsky 2014, "One weird trick for parallelizing convolutional neural networks"; the network of 2012,
    "ImageNet classification with deep convolutional neural networks", has two towers.
    """
    num_classes, in_channels = sizes("alexnet", num_classes, in_channels)
    features = nn.Sequential(
        nn.Conv2d(in_channels, 64, 11, stride=4, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2),
        nn.Conv2d(64, 192, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2),
        nn.Conv2d(192, 384, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2),
    )
    classifier = nn.Sequential(
        nn.Dropout(dropout),
        nn.Linear(256 * 6 * 6, 4096),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(4096, 4096),
        nn.ReLU(),
        nn.Linear(4096, num_classes),
    )
    model = _with_head(features, 6, classifier)
    first, second, third, *hidden, last = affine(model)
    normal = partial(init.normal_, std=0.01)
    initialise([first, third, last], normal)
    initialise([second, *hidden], normal, bias=1)
    return model


def vgg11(
    num_classes: int = 1000,
    in_channels: int = 3,
    *,
    image_size: int = 224,
    batch_norm: bool = False,
    dropout: float = 0.5,
) -> nn.Sequential:
    """VGG-11, configuration A: images (N, image_size, image_size, in_channels) -> logits (N, num_classes).

    Eight 3 x 3 convolutions with 64 to 512 channels, five max-poolings, then

        image_size 224   means over 7 x 7 bins, Linear 4096, 4096, num_classes with `dropout`    132,863,336 parameters
        image_size 32    one Linear 512 -> num_classes, usual for CIFAR (no dropout)    9,225,610 for 10 classes

    batch_norm puts batch normalisation behind each convolution (5,504 more parameters), which the paper did not have.
    Weights start Xavier uniform (Glorot and Bengio 2010), with which section 3.1 needs no pretraining; biases at 0.
    Source: Simonyan and Zisserman 2015, "Very deep convolutional networks for large-scale image recognition", table 1.
    """
    num_classes, in_channels = sizes("vgg11", num_classes, in_channels)
    check.choice("vgg11", "image_size", image_size, (32, 224))
    features = nn.Sequential(*_vgg_features(in_channels, batch_norm))
    if image_size == 32:
        model = nn.Sequential(
            {"features": features, "flatten": nn.Flatten(), "classifier": nn.Linear(512, num_classes)}
        )
    else:
        model = _with_head(features, 7, _vgg_classifier(num_classes, dropout))
    initialise(affine(model), init.xavier_uniform_)
    return model


def small_vgg(num_classes: int = 10, in_channels: int = 1, *, width: int = 32) -> nn.Sequential:
    """A small VGG for small images: (N, H, W, in_channels), of 4 pixels and more, -> logits (N, num_classes).

        [3 x 3, width] x 2, pool, [3 x 3, 2 width] x 2, pool, [3 x 3, 4 width], mean over all pixels, Linear

    Batch normalisation and ReLU behind each convolution, which has no bias: 140,458 parameters. It learns Fashion-MNIST
    well in minutes: see `dlfast train`. Convolutions start He normal (He et al. 2015, section 2.2).
    The plan is that of Simonyan and Zisserman 2015; the mean in place of Linear layers is from Lin et al. 2014,
    "Network in network", section 3.2.
    """
    num_classes, in_channels = sizes("small_vgg", num_classes, in_channels)
    width = check.integer("small_vgg", "width", width, 1)
    features = _vgg_features(in_channels, True, ((width, width), (2 * width, 2 * width), (4 * width,)), bias=False)
    model = nn.Sequential(
        {
            "features": nn.Sequential(*features[:-1]),  # without the last pooling
            "avgpool": nn.AdaptiveAvgPool2d(1),
            "flatten": nn.Flatten(),
            "classifier": nn.Linear(4 * width, num_classes),
        }
    )
    initialise((layer for layer in affine(model) if isinstance(layer, nn.Conv2d)), init.he_normal_)
    return model


_VGG11 = ((64,), (128,), (256, 256), (512, 512), (512, 512))


def _vgg_features(in_channels: int, batch_norm: bool, blocks=_VGG11, bias: bool = True) -> list[nn.Module]:
    """Blocks of 3 x 3 convolutions of these widths, each block with max-pooling behind it."""
    layers: list[nn.Module] = []
    for block in blocks:
        for width in block:
            layers.append(nn.Conv2d(in_channels, width, 3, padding=1, bias=bias))
            layers += [nn.BatchNorm2d(width), nn.ReLU()] if batch_norm else [nn.ReLU()]
            in_channels = width
        layers.append(nn.MaxPool2d(2))
    return layers


def _vgg_classifier(num_classes: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(512 * 7 * 7, 4096),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(4096, 4096),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(4096, num_classes),
    )


def _with_head(features: nn.Sequential, bins: int, classifier: nn.Sequential) -> nn.Sequential:
    """features, means over bins x bins, classifier, under torchvision's names."""
    return nn.Sequential(
        {
            "features": features,
            "avgpool": nn.AdaptiveAvgPool2d(bins),
            "flatten": nn.Flatten(),
            "classifier": classifier,
        }
    )
