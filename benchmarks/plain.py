"""A plain script in the style of PyTorch's transfer learning tutorial: what one would write without flowerbench.

PIL transforms in worker processes, eager fp32, one run. It prints a line of JSON as it takes its first step, and one
per epoch. Of flowerbench it has nothing but the import of torchvision.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from flowerbench._torchvision import torchvision

transforms = torchvision.transforms

IMPORTED = time.time()


def transform(size: int, is_augmented: bool) -> Any:
    """The paper's augmentation in its order, or resize and centre crop."""
    if is_augmented:
        steps = [
            transforms.RandomRotation(30),
            transforms.RandomResizedCrop(size),
            transforms.RandomHorizontalFlip(),
            transforms.RandomVerticalFlip(),
            transforms.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2),
        ]
    else:
        steps = [transforms.Resize(round(size / 0.875)), transforms.CenterCrop(size)]
    normalize = transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    return transforms.Compose([*steps, transforms.ToTensor(), normalize])


def loaders(args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """The batches of `DATA/train` and `DATA/val`, one folder per class in each."""
    is_augmented = {"train": True, "val": args.validation == "augmented"}
    return {
        part: DataLoader(
            torchvision.datasets.ImageFolder(
                args.data / part, transform(args.image_size, is_augmented[part]), allow_empty=True
            ),
            batch_size=args.batch_size,
            shuffle=part == "train",
            num_workers=args.workers,
            pin_memory=device.type == "cuda",
        )
        for part in ("train", "val")
    }


def classifier(args: argparse.Namespace, classes: int) -> nn.Module:
    """A torchvision classifier with a new head, around the weights of a file where one is named."""
    model: nn.Module = torchvision.models.get_model(
        args.model, weights=None, num_classes=classes, **dict(args.model_args)
    )
    if args.weights:
        own = model.state_dict()
        state = torch.load(args.weights, map_location="cpu", weights_only=True)
        model.load_state_dict({k: v for k, v in state.items() if k in own and v.shape == own[k].shape}, strict=False)
    return model


def train(args: argparse.Namespace) -> None:
    """Train, evaluate after every epoch, keep the best: the tutorial's train_model."""
    torch.manual_seed(args.seed)
    device = torch.device(args.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    dataloaders = loaders(args, device)
    model = classifier(args, len(dataloaders["train"].dataset.classes)).to(device)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=7, gamma=0.1)

    best_accuracy, steps = -1.0, 0
    for epoch in range(1, args.epochs + 1):
        record: dict[str, float] = {"epoch": epoch}
        for phase in ("train", "val"):
            began = time.perf_counter()
            model.train(phase == "train")
            running_loss, running_corrects, photos = 0.0, torch.tensor(0, device=device), 0
            for inputs, labels in dataloaders[phase]:
                inputs, labels = inputs.to(device), labels.to(device)
                optimizer.zero_grad()
                with torch.set_grad_enabled(phase == "train"):
                    outputs = model(inputs)
                    loss = criterion(outputs, labels)
                    if phase == "train":
                        loss.backward()
                        optimizer.step()
                        steps += 1
                running_loss += loss.item() * len(inputs)
                running_corrects += (outputs.argmax(1) == labels).sum()
                photos += len(inputs)
                if steps == 1 and phase == "train":
                    say(imported=IMPORTED, first_step=time.time())
                if steps == args.steps:
                    return
            record[f"{phase}_loss"] = running_loss / photos
            record[f"{phase}_accuracy"] = running_corrects.item() / photos
            record[f"{phase}_photos"] = photos
            record[f"{phase}_seconds"] = time.perf_counter() - began
        scheduler.step()
        if record["val_accuracy"] > best_accuracy:
            best_accuracy = record["val_accuracy"]
            torch.save(model.state_dict(), args.out / "best.pt")
        if device.type == "cuda":
            record["gpu_bytes"] = torch.cuda.max_memory_allocated()
        say(**record)


def say(**record: float) -> None:
    """Print a line of JSON."""
    print(json.dumps(record), flush=True)


def model_argument(text: str) -> tuple[str, Any]:
    """`width_mult=0.35` as a name and a value."""
    name, found, value = text.partition("=")
    if not found:
        raise argparse.ArgumentTypeError(f"{text} is not NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def parser() -> argparse.ArgumentParser:
    """The options; their defaults are the paper's."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    made = argparse.ArgumentParser(prog="python -m benchmarks.plain", description=__doc__)
    made.add_argument("data", type=Path, metavar="DATA", help="folder that holds train/ and val/")
    made.add_argument("--out", type=Path, default=Path(), help="folder for best.pt (default: here)")
    made.add_argument("--model", default="resnet18", help="a classifier of torchvision (default: %(default)s)")
    made.add_argument("--model-args", type=model_argument, nargs="*", default=[], metavar="NAME=VALUE")
    made.add_argument("--weights", type=Path, help="state dict to begin from (default: random numbers)")
    made.add_argument("--image-size", type=int, default=224)
    made.add_argument("--batch-size", type=int, default=16)
    made.add_argument("--epochs", type=int, default=25)
    made.add_argument("--lr", type=float, default=0.001)
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--validation", choices=["augmented", "clean"], default="augmented")
    made.add_argument("--workers", type=int, default=cores, help="of each loader (default: one per core)")
    made.add_argument("--device", help="cpu or cuda (default: cuda where there is one)")
    made.add_argument("--steps", type=int, help="stop after so many training steps")
    return made


def main() -> None:
    """The command `python -m benchmarks.plain`."""
    made = parser()
    args = made.parse_args()
    for part in ("train", "val"):
        if not (args.data / part).is_dir():
            made.error(f"{args.data} holds no folder {part}/")
    train(args)


if __name__ == "__main__":
    main()
