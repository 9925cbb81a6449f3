#pragma once

namespace onecopy {

// Makes room for many descriptors once for the process, in the background.
void GrowDescriptorTable();

}  // namespace onecopy
