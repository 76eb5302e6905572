/** Line icons of the shell, 20 × 20, drawn for this page. */
import type { ComponentChildren } from "preact";

function Icon(props: { children: ComponentChildren }) {
  return (
    <svg class="icon" viewBox="0 0 20 20" aria-hidden="true" focusable="false">
      {props.children}
    </svg>
  );
}

export const ComposeIcon = () => <Icon><path d="M9 4H5.5A1.5 1.5 0 0 0 4 5.5v9A1.5 1.5 0 0 0 5.5 16h9a1.5 1.5 0 0 0 1.5-1.5V11M15.2 3.3l1.5 1.5-6.9 6.9-2.3.8.8-2.3z" /></Icon>;
export const SearchIcon = () => <Icon><circle cx="9" cy="9" r="5" /><path d="M13 13l3.5 3.5" /></Icon>;
export const SidebarIcon = () => <Icon><rect x="3" y="4" width="14" height="12" rx="2" /><path d="M8 4v12" /></Icon>;
export const GhostIcon = () => <Icon><path d="M4.5 16V9.5a5.5 5.5 0 0 1 11 0V16l-1.9-1.4L11.8 16 10 14.6 8.2 16l-1.8-1.4zM8 9.2v.1M12 9.2v.1" /></Icon>;
export const FolderIcon = () => <Icon><path d="M3 6.5A1.5 1.5 0 0 1 4.5 5h3l1.7 2h6.3A1.5 1.5 0 0 1 17 8.500v5A1.500 1.500 0 0 1 15.500 15h-11A1.500 1.500 0 0 1 3 13.500z" /></Icon>;
export const TagIcon = () => <Icon><path d="M3.500 4.500v5.200l7 7 6-6-7-7H4.500a1 1 0 0 0-1 .8zM7 7v.1" /></Icon>;
export const PinIcon = () => <Icon><path d="M7.500 3.500h5l-.6 5 2.600 2.500h-9l2.600-2.500zM10 11v5.500" /></Icon>;
export const ArchiveIcon = () => <Icon><rect x="3" y="4" width="14" height="3.500" rx="1" /><path d="M4.500 7.500v7A1.500 1.500 0 0 0 6 16h8a1.500 1.500 0 0 0 1.500-1.500v-7M8.200 10.500h3.600" /></Icon>;
export const TrashIcon = () => <Icon><path d="M4 6h12M8 6V4h4v2M5.500 6l.7 9.200a1 1 0 0 0 1 .8h5.600a1 1 0 0 0 1-.8L14.500 6M8.500 9v4M11.500 9v4" /></Icon>;
export const PencilIcon = () => <Icon><path d="M13.500 4.200l2.300 2.300-8.600 8.600-3 .7.7-3z" /></Icon>;
export const ShareIcon = () => <Icon><path d="M10 12.500V3.500M6.800 6.500L10 3.300l3.200 3.200M4.500 10.500v4A1.500 1.500 0 0 0 6 16h8a1.500 1.500 0 0 0 1.500-1.500v-4" /></Icon>;
export const ExportIcon = () => <Icon><path d="M10 3.500v9M6.800 9.500l3.200 3.200 3.200-3.200M4 15.800h12" /></Icon>;
export const ImportIcon = () => <Icon><path d="M10 12.500v-9M6.800 6.700L10 3.500l3.200 3.200M4 15.800h12" /></Icon>;
export const MoreIcon = () => <Icon><circle class="solid" cx="4.800" cy="10" r="1.300" /><circle class="solid" cx="10" cy="10" r="1.300" /><circle class="solid" cx="15.200" cy="10" r="1.300" /></Icon>;
export const GearIcon = () => <Icon><circle cx="10" cy="10" r="2.500" /><path d="M10 2.800v2M10 15.200v2M2.800 10h2M15.200 10h2M4.900 4.900l1.400 1.400M13.700 13.700l1.400 1.400M4.900 15.100l1.400-1.400M13.700 6.300l1.400-1.400" /></Icon>;
export const UserIcon = () => <Icon><circle cx="10" cy="7" r="3" /><path d="M4.500 16.500a5.500 5.500 0 0 1 11 0" /></Icon>;
export const PeopleIcon = () => <Icon><circle cx="7.500" cy="7.500" r="2.700" /><path d="M2.800 16a4.700 4.700 0 0 1 9.400 0M13 5.200a2.700 2.700 0 0 1 0 4.800M14.200 11.900a4.700 4.700 0 0 1 3 4.100" /></Icon>;
export const BookIcon = () => <Icon><path d="M10 5.500C8.500 4.300 6.300 4 3.500 4v11c2.800 0 5 .3 6.500 1.500M10 5.500C11.500 4.300 13.700 4 16.500 4v11c-2.800 0-5 .3-6.500 1.500M10 5.500v11" /></Icon>;
export const ShieldIcon = () => <Icon><path d="M10 3l5.500 2v4.500c0 3.500-2.300 6-5.500 7.500-3.200-1.500-5.500-4-5.500-7.500V5z" /></Icon>;
export const KeyIcon = () => <Icon><circle cx="7" cy="12.500" r="3" /><path d="M9.200 10.300L15.500 4M13 6.500l2 2" /></Icon>;
export const ChartIcon = () => <Icon><path d="M4 16.500V4M4 16.500h12.500M7.500 13.500v-3M11 13.500V7M14.500 13.500v-5" /></Icon>;
export const LogIcon = () => <Icon><path d="M5 3.500h10v13H5zM7.500 7h5M7.500 10h5M7.500 13h3" /></Icon>;
export const ThumbIcon = () => <Icon><path d="M6.500 9l3-5.500c1.200 0 2 .9 1.700 2.100L10.700 8h4.200a1.400 1.400 0 0 1 1.400 1.700l-1 5a1.400 1.400 0 0 1-1.400 1.300H6.500M6.500 9v7h-3V9z" /></Icon>;
export const FlagIcon = () => <Icon><path d="M5 17V3.500M5 4.500h9.500l-1.700 3.200 1.700 3.300H5" /></Icon>;
export const LogoutIcon = () => <Icon><path d="M8 4H5a1 1 0 0 0-1 1v10a1 1 0 0 0 1 1h3M13 6.500L16.500 10 13 13.500M16 10H8" /></Icon>;
export const CloudOffIcon = () => <Icon><path d="M3 3l14 14M6 8.300A3.500 3.500 0 0 0 6.500 15H13M9 5.700A4.300 4.300 0 0 1 14.200 9a3 3 0 0 1 2.300 4.700" /></Icon>;
export const BrainIcon = () => <Icon><path d="M10 5a2.300 2.300 0 0 0-4.400-.8 2.400 2.400 0 0 0-1.700 4A2.500 2.500 0 0 0 4.500 13a2.600 2.600 0 0 0 5.500.8zM10 5a2.300 2.300 0 0 1 4.400-.8 2.400 2.400 0 0 1 1.700 4 2.500 2.500 0 0 1-.6 4.800 2.600 2.600 0 0 1-5.500.8" /></Icon>;
export const MaskIcon = () => <Icon><path d="M4 5.500c4 1.300 8 1.300 12 0v5c0 3.300-2.700 6-6 6s-6-2.700-6-6zM7 9.500h1.500M11.500 9.500H13M8 13c1.300.8 2.700.8 4 0" /></Icon>;
export const DatabaseIcon = () => <Icon><ellipse cx="10" cy="5" rx="6" ry="2" /><path d="M4 5v10c0 1.100 2.700 2 6 2s6-.9 6-2V5M4 10c0 1.100 2.700 2 6 2s6-.9 6-2" /></Icon>;
export const SystemIcon = () => <Icon><rect x="3" y="4" width="14" height="9" rx="1.500" /><path d="M7.500 16.500h5M10 13v3.500" /></Icon>;
export const FileIcon = () => <Icon><path d="M5.500 3h6l3.500 3.500V17h-9.500zM11.500 3v3.500H15" /></Icon>;
export const BackIcon = () => <Icon><path d="M12 5l-5 5 5 5" /></Icon>;
export const MenuIcon = () => <Icon><path d="M3.500 6h13M3.500 10h13M3.500 14h13" /></Icon>;
export const WarnIcon = () => <Icon><path d="M10 3.500l7 12.500H3zM10 8.500v3.500M10 14v.1" /></Icon>;
